"""A Gaussian process: what an objective of an architecture will be, and how sure that is, from few evaluations."""

import contextlib
import functools
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.linalg import cholesky, solve_triangular
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Kernel, Matern, WhiteKernel
from threadpoolctl import ThreadpoolController

_GROWTH = 1.5  # hyperparameters are fitted again each time that there are so many times as many observations
_MAX_FITTED = 300  # observations that hyperparameters are fitted to


@functools.cache
def _threads() -> ThreadpoolController:
    return ThreadpoolController()


@contextlib.contextmanager
def _in_one_thread() -> Iterator[None]:
    """Matrices here are small: beside workers on the same cores, threads of a product wait for each other most of the time."""
    with _threads().limit(limits=1, user_api="blas"):
        yield


class GaussianProcess:
    """A linear trend plus a smooth deviation from it plus noise; what it predicts follows from its observations alone.

    Hyperparameters maximise the marginal likelihood of the first observations, as many as there were at the last of a
    geometric row of numbers; each fit starts anew, so that the fits before it leave no trace. In between, the Cholesky
    factor of the covariance grows by a row an observation, however many come at once: the same to the last bit.
    """

    def __init__(self) -> None:
        self._num_fitted = 0  # observations that kernel and noise follow from
        self._kernel: Any = None
        self._noise = 0.0
        self._factor = np.zeros((0, 0))  # of the covariance of all observations so far, lower

    def predict(
        self,
        features: Float[np.ndarray, "observations features"],
        values: Float[np.ndarray, " observations"],
        queries: Float[np.ndarray, "queries features"],
    ) -> tuple[Float[np.ndarray, " queries"], Float[np.ndarray, " queries"]]:
        """Mean and standard deviation at the queries, noise not included.

        Args:
            features: of the observations, oldest first; two or more, those of the last call among them.
            values: what was observed.
            queries: features of what is asked about.
        """
        means, across, deviation = self._posterior(features, values, queries)
        variances = np.maximum(self._kernel.diag(queries) - np.einsum("oq,oq->q", across, across), 0.0)
        return means, deviation * np.sqrt(variances)

    def predict_jointly(
        self,
        features: Float[np.ndarray, "observations features"],
        values: Float[np.ndarray, " observations"],
        queries: Float[np.ndarray, "queries features"],
    ) -> tuple[Float[np.ndarray, " queries"], Float[np.ndarray, "queries queries"]]:
        """Mean and covariance at the queries, noise not included; the arguments are those of `predict`."""
        means, across, deviation = self._posterior(features, values, queries)
        return means, deviation**2 * (self._kernel(queries) - across.T @ across)

    @_in_one_thread()
    def _posterior(self, features: np.ndarray, values: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Means, the queries' covariance with the observations by the factor, and the deviation by which values are scaled."""
        num_fitted = _milestone(len(values))
        if self._num_fitted != num_fitted:
            self._kernel, self._noise = _fitted(features[:num_fitted], values[:num_fitted])
            self._num_fitted = num_fitted
            covariance = self._kernel(features[:num_fitted]) + self._noise * np.eye(num_fitted)
            self._factor = cholesky(covariance, lower=True)
        for row in range(len(self._factor), len(features)):
            self._grow(features[: row + 1])
        across = solve_triangular(self._factor, self._kernel(features, queries), lower=True)
        mean, deviation = values.mean(), values.std() or 1.0
        weights = solve_triangular(self._factor, (values - mean) / deviation, lower=True)
        return mean + deviation * (weights @ across), across, float(deviation)

    def _grow(self, features: Float[np.ndarray, "observations features"]) -> None:
        """Adds the last observation's row to the factor."""
        count = len(self._factor)
        row = solve_triangular(self._factor, self._kernel(features[:-1], features[-1:])[:, 0], lower=True)
        rest = self._kernel.diag(features[-1:])[0] + self._noise - row @ row
        factor = np.zeros((count + 1, count + 1))
        factor[:count, :count], factor[count, :count] = self._factor, row
        factor[count, count] = np.sqrt(max(rest, self._noise))
        self._factor = factor


def _milestone(count: int) -> int:
    """The largest of 2, 3, 5, 8, 12, ... that is no larger."""
    milestone = 2
    while (following := int(np.ceil(_GROWTH * milestone))) <= count:
        milestone = following
    return milestone


def _fitted(
    features: Float[np.ndarray, "observations features"], values: Float[np.ndarray, " observations"]
) -> tuple[Kernel, float]:
    """The kernel, and the variance of the noise beside it."""
    chosen = np.unique(np.linspace(0, len(values) - 1, min(len(values), _MAX_FITTED)).astype(int))
    scale = np.sqrt(max(1, features.shape[1]))
    trend = ConstantKernel(1 / scale**2, (1e-6, 1e2)) * DotProduct(1.0, "fixed")
    smooth = ConstantKernel(1.0, (1e-4, 1e2)) * Matern(0.5 * scale, (0.02 * scale, 20 * scale), nu=2.5)
    process: Any = GaussianProcessRegressor(trend + smooth + WhiteKernel(1e-2, (1e-6, 1.0)), normalize_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a hyperparameter at its bound
        fitted = process.fit(features[chosen], values[chosen]).kernel_
    return fitted.k1, float(fitted.k2.noise_level)
