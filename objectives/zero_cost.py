"""Zero-cost scores: what the gradients of an untrained network are said to tell of its quality. Baselines, no more.

Source: Abdelfattah et al. 2021 (Zero-Cost Proxies for Lightweight NAS) and the papers named below. SynFlow is not here:
it wants networks without normalisation, and ours are normalised throughout.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

ZERO_COST = ("gradient_norm", "snip", "jacobian_covariance")
_JITTER = 1e-5


def gradient_norm(gradients: Iterable[np.ndarray]) -> float:
    """The sum of the Euclidean norms of the loss's gradients, one for each kernel; the more the better."""
    return float(sum(np.linalg.norm(gradient) for gradient in gradients))


def snip(kernels: Iterable[np.ndarray], gradients: Iterable[np.ndarray]) -> float:
    """How much loss the weights stand for, to first order: the sum of |weight x gradient|; the more the better.

    Source: Lee et al. 2019 (SNIP).
    """
    pairs = zip(kernels, gradients, strict=True)
    return float(sum(np.sum(np.abs(kernel * gradient), dtype=np.float64) for kernel, gradient in pairs))


def jacobian_covariance(jacobian: Float[np.ndarray, "n d"]) -> float:
    """How differently a network answers to different inputs; the more the better, 0 where all gradients are orthogonal.

    Args:
        jacobian: the gradient of the sum of outputs with respect to each of n inputs, far fewer than their d numbers.

    Returns:
        Minus the mean of log(v) + 1 / v - 1 over the eigenvalues v of the gradients' correlations; NaN where a gradient is the
        same everywhere.

    Source: Mellor et al. 2020, the first version of "Neural Architecture Search without Training"; the mean and the shift by
    one make the best value 0, and change no ranking.
    """
    rows = np.asarray(jacobian, np.float64)
    if not np.ptp(rows, axis=1).all():
        return float("nan")
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(rows)) + _JITTER
    return -float(np.mean(np.log(eigenvalues) + 1 / eigenvalues - 1))
