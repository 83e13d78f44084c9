"""What a network predicts: the noise eps, the data x0, or the velocity v = alpha eps - sigma x0.

All are affine in each other at a given x_t = alpha x0 + sigma eps, with alpha^2 + sigma^2 = 1. The factors `alpha` and
`sigma` are scalars or broadcast against the images (see `diffusion.schedule.per_sample`).

Source: Salimans and Ho 2022, "Progressive distillation", section 4 and appendix D (v).
"""

import dataclasses
from collections.abc import Callable

from jaxtyping import Array, Float

Images = Float[Array, "*images"]
Factor = Float[Array, "..."]


# (x0, eps, alpha, sigma) -> the quantity to predict.
TargetFunction = Callable[[Images, Images, Factor, Factor], Images]
# (prediction, x_t, alpha, sigma) -> a quantity recovered from a prediction made at x_t.
ReadFunction = Callable[[Images, Images, Factor, Factor], Images]


@dataclasses.dataclass(frozen=True)
class Parameterisation:
    """The meaning of a prediction.

    Attributes:
      name: The key under which configuration and fingerprints name it.
      target: `target(x0, eps, alpha, sigma)` is what a perfect network outputs.
      to_denoised: `to_denoised(prediction, x_t, alpha, sigma)` is the estimate of x0 that a prediction stands for.
      to_eps: `to_eps(prediction, x_t, alpha, sigma)` is the estimate of eps that it stands for.
    """

    name: str
    target: TargetFunction
    to_denoised: ReadFunction
    to_eps: ReadFunction


def _eps_target(x0: Images, eps: Images, alpha: Factor, sigma: Factor) -> Images:
    return eps


def _eps_to_denoised(prediction: Images, x_t: Images, alpha: Factor, sigma: Factor) -> Images:
    return (x_t - sigma * prediction) / alpha


def _eps_to_eps(prediction: Images, x_t: Images, alpha: Factor, sigma: Factor) -> Images:
    return prediction


def _x0_target(x0: Images, eps: Images, alpha: Factor, sigma: Factor) -> Images:
    return x0


def _x0_to_denoised(prediction: Images, x_t: Images, alpha: Factor, sigma: Factor) -> Images:
    return prediction


def _x0_to_eps(prediction: Images, x_t: Images, alpha: Factor, sigma: Factor) -> Images:
    return (x_t - alpha * prediction) / sigma


def _v_target(x0: Images, eps: Images, alpha: Factor, sigma: Factor) -> Images:
    return alpha * eps - sigma * x0


def _v_to_denoised(prediction: Images, x_t: Images, alpha: Factor, sigma: Factor) -> Images:
    return alpha * x_t - sigma * prediction


def _v_to_eps(prediction: Images, x_t: Images, alpha: Factor, sigma: Factor) -> Images:
    return sigma * x_t + alpha * prediction


# eps carries no information on x0 where alpha is near 0, x0 none on eps where sigma is near 0; v is safe at both ends.
EPS = Parameterisation("eps", _eps_target, _eps_to_denoised, _eps_to_eps)
X0 = Parameterisation("x0", _x0_target, _x0_to_denoised, _x0_to_eps)
V = Parameterisation("v", _v_target, _v_to_denoised, _v_to_eps)

PARAMETERISATIONS: dict[str, Parameterisation] = {item.name: item for item in (EPS, X0, V)}


def get_parameterisation(name: str) -> Parameterisation:
    """The parameterisation of that name.

    >>> get_parameterisation("v") is V
    True

    Raises:
      ValueError: No parameterisation has that name.
    """
    if name not in PARAMETERISATIONS:
        raise ValueError(f"no parameterisation is called {name!r}; use one of {', '.join(PARAMETERISATIONS)}")
    return PARAMETERISATIONS[name]


def convert(
    prediction: Images,
    x_t: Images,
    *,
    source: Parameterisation,
    target: Parameterisation,
    alpha: Factor,
    sigma: Factor,
) -> Images:
    """Says the same prediction in another parameterisation."""
    if source is target:
        return prediction
    denoised = source.to_denoised(prediction, x_t, alpha, sigma)
    eps = source.to_eps(prediction, x_t, alpha, sigma)
    return target.target(denoised, eps, alpha, sigma)
