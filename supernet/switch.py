"""A switch whose backward pass costs what the chosen branch costs.

The gradient of a plain `lax.switch` gives all branches one residual type and fills the residuals of those not taken with
zeros, up to 28 times the work (jax issue 8239). Here the backward pass is itself a switch, over the branches' own
vector-Jacobian products, and only the operands are kept from the forward pass.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jaxtyping import Array, Int


def switch(index: Int[Array, ""], branches: Sequence[Callable[..., Array]], *operands: Any) -> Array:
    """Computes `branches[index](*operands)`; branches must not close over traced values."""
    if len(branches) == 1:
        return branches[0](*operands)
    return _switch(tuple(branches), index, operands)


def _forward(branches: tuple[Callable[..., Array], ...], index: Array, operands: tuple[Any, ...]) -> Array:
    return lax.switch(index, branches, *operands)


def _forward_and_keep(branches: tuple[Callable[..., Array], ...], index: Array, operands: tuple[Any, ...]) -> tuple[Array, Any]:
    return _forward(branches, index, operands), (index, operands)


def _backward(branches: tuple[Callable[..., Array], ...], kept: Any, gradient: Array) -> tuple[None, Any]:
    index, operands = kept
    pullbacks = [_pullback(branch) for branch in branches]
    return None, lax.switch(index, pullbacks, operands, gradient)


def _pullback(branch: Callable[..., Array]) -> Callable[[Any, Array], Any]:
    return lambda operands, gradient: jax.vjp(branch, *operands)[1](gradient)


_switch = jax.custom_vjp(_forward, nondiff_argnums=(0,))
_switch.defvjp(_forward_and_keep, _backward)
