"""A switch whose backward pass costs what the chosen branch costs.

The gradient of a plain `lax.switch` gives all branches one residual type and fills the residuals of those not taken with
zeros, up to 28 times the work (jax issue 8239). Here the backward pass is itself a switch, over the branches' own
vector-Jacobian products, and only the operands are kept from the forward pass.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
from jax import lax
from jaxtyping import Array, Int


def switch(index: Int[Array, ""], branches: Sequence[Callable[..., Any]], *operands: Any, choices: Any = None) -> Any:
    """Computes `branches[index](*operands)`, or `branches[index](choices, *operands)` where there are choices.

    Branches must not close over traced values. Integers that they need, such as the index of a switch inside, are `choices`:
    nothing is differentiated by them.
    """
    if choices is not None:
        return _switch(tuple(branches), index, choices, operands)
    return _switch(tuple(map(_without_choices, branches)), index, (), operands)


def _without_choices(branch: Callable[..., Any]) -> Callable[..., Any]:
    return lambda choices, *operands: branch(*operands)


def _forward(branches: tuple[Callable[..., Any], ...], index: Array, choices: Any, operands: tuple[Any, ...]) -> Any:
    if len(branches) == 1:
        return branches[0](choices, *operands)
    return lax.switch(index, branches, choices, *operands)


def _forward_and_keep(
    branches: tuple[Callable[..., Any], ...], index: Array, choices: Any, operands: tuple[Any, ...]
) -> tuple[Any, Any]:
    return _forward(branches, index, choices, operands), (index, choices, operands)


def _backward(branches: tuple[Callable[..., Any], ...], kept: Any, gradient: Any) -> tuple[None, None, Any]:
    index, choices, operands = kept
    return None, None, _forward(tuple(map(_pullback, branches)), index, choices, (operands, gradient))


def _pullback(branch: Callable[..., Any]) -> Callable[[Any, Any, Any], Any]:
    return lambda choices, operands, gradient: jax.vjp(partial(branch, choices), *operands)[1](gradient)


_switch = jax.custom_vjp(_forward, nondiff_argnums=(0,))
_switch.defvjp(_forward_and_keep, _backward)
