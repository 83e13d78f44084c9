"""The stand-alone UNet says of each operation in which block it is."""

import jax
import jax.numpy as jnp

from search_space import get_scale, get_space, layer_plan
from supernet import UNet
from supernet.initializer import random_initializer


def test_every_block_is_a_named_scope():
    """A converter's refusal is read against these names."""
    plan = layer_plan(get_space("digits").smallest(), get_scale("digits-proxy"))
    scale, unet = plan.scale, UNet(plan, init=random_initializer(0))
    shapes = (
        jax.ShapeDtypeStruct((1, scale.resolution, scale.resolution, scale.in_channels), jnp.float32),
        jax.ShapeDtypeStruct((1,), jnp.float32),
        jax.ShapeDtypeStruct((1, scale.context_length, scale.context_width), jnp.float32),
    )
    text = jax.jit(unet.__call__).lower(*shapes).as_text(debug_info=True)
    assert not [block.name for block in plan.blocks if f"/{block.name}/" not in text]
