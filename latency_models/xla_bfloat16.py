"""A traced float32 program computed in bfloat16, as accelerators run networks."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal

_PRODUCTS = ("dot_general", "conv_general_dilated")
_SUMS = ("reduce_sum", "cumsum")
_CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


def in_bfloat16(jaxpr: Jaxpr, weights: Sequence[Any], inputs: Sequence[Any]) -> jax.Array:
    """The one output of a program whose products are of bfloat16.

    What a product reads is rounded to bfloat16, and all that is computed from its result stays so; sums over an axis are
    float32 and rounded once, as in jax.numpy. What no product or bfloat16 array has met (the time step's sinusoids, whose
    angles need more digits) stays float32.

    Args:
      jaxpr: Of a function of float32 arrays.
      weights: Its constants, given as bfloat16.
      inputs: Its arguments, from `narrow_input`.

    Raises:
      ValueError: An operation holds a program of its own (a loop, a branch).
    """
    (output,) = _evaluate(jaxpr, weights, inputs)
    return output


def narrow_input(x: Any) -> Any:
    """An input as a bfloat16 program takes it: vectors are time steps, and stay float32."""
    return x.astype(jnp.bfloat16) if x.ndim > 1 and x.dtype == jnp.float32 else x


def _evaluate(jaxpr: Jaxpr, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    known: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))

    def read(variable: Any) -> Any:
        return variable.val if isinstance(variable, Literal) else known[variable]

    for equation in jaxpr.eqns:
        operands = [read(variable) for variable in equation.invars]
        known.update(zip(equation.outvars, _apply(equation, operands), strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _apply(equation: Any, operands: list[Any]) -> Sequence[Any]:
    primitive, params = equation.primitive, equation.params
    if primitive.name in _CALLS:
        called = params[_CALLS[primitive.name]]
        return _evaluate(called.jaxpr, called.consts, operands)
    bind: Callable[..., Any] = primitive.bind
    if primitive.name not in _PRODUCTS and not any(jnp.result_type(x) == jnp.bfloat16 for x in operands):
        results = bind(*operands, **params)
    elif any(isinstance(value, Jaxpr) or hasattr(value, "jaxpr") for value in jax.tree.leaves(list(params.values()))):
        raise ValueError(f"operation {primitive.name!r} holds a program of its own; measure with dtype=float32")
    elif primitive.name in _SUMS:
        results = bind(*(_cast(x, jnp.bfloat16, jnp.float32) for x in operands), **params).astype(jnp.bfloat16)
    else:
        narrow = {key: jnp.dtype(jnp.bfloat16) if value == jnp.float32 else value for key, value in params.items()}
        results = bind(*(_cast(x, jnp.float32, jnp.bfloat16) for x in operands), **narrow)
    return results if primitive.multiple_results else [results]


def _cast(x: Any, of: Any, to: Any) -> Any:
    return jnp.asarray(x, to) if jnp.result_type(x) == of else x
