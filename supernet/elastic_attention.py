"""The attention of a supernet's transformer layer at one width, with its function and its shared keys and values to choose."""

from collections.abc import Callable
from typing import Any

from jax import lax
from jaxtyping import Array

from supernet.blocks import ATTENTION_FUNCTIONS
from supernet.elastic_residual import pad
from supernet.elastic_stage import ElasticStage
from supernet.families import Family, Parameters
from supernet.switch import switch


def attention_branch(family: Family, stage: ElasticStage, channels: int, is_cross: bool) -> Callable[..., Array]:
    """The attention of so many channels as a function of (choices, stored, tokens, context)."""
    functions = [ATTENTION_FUNCTIONS[name] for name in stage.choices.attention_function]
    of_width = [spec for spec in family.specs if spec.channels == channels]
    spec = min(of_width, key=lambda spec: spec.shared_kv)  # one that has every parameter
    values = [_value(family, spec, shared) for shared in ((False,) if is_cross else stage.choices.shared_kv)]

    def branch(choices: dict[str, Array], stored: Parameters, tokens: Array, context: Array) -> Array:
        # A plain switch: its two functions keep nothing but arrays of the scores' shape for the backward pass.
        weigh = lambda scores: lax.switch(choices["attention_function"], functions, scores)  # noqa: E731
        own = {path: array for path, array in stored.items() if path.startswith("value")}
        value = lambda source, key: switch(choices["shared_kv"], values, own, source, key)  # noqa: E731
        block = family.apply(stored, spec)
        attended = block.attend(tokens[..., :channels], context if is_cross else None, weigh=weigh, value=value)
        return pad(attended, max(stage.widths))

    return branch


def _value(family: Family, spec: Any, shared: bool) -> Callable[..., Array]:
    if shared:
        return lambda own, source, key: key
    return lambda own, source, key: family.layer(own, spec, "value")(source)
