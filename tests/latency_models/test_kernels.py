"""Kernels cover a plan exactly, and are those that XNNPACK runs."""

import pytest
from known_machines import random_networks

from latency_models.kernels import block_kernels
from latency_models.network import blocks_alone
from search_space import get_scale
from search_space.blocks import OutputSpec, TransformerSpec


def test_kernels_hold_every_mac_of_the_network():
    for network in random_networks(40):
        assert sum(kernel.macs for kernel in network.kernels) == network.macs


def test_a_product_does_rows_times_columns_times_depth():
    for network in random_networks(10):
        for kernel in network.kernels:
            assert kernel.macs in (0, kernel.batch * kernel.rows * kernel.columns * kernel.depth)


def test_the_head_by_hand():
    """32x32 pixels, 48 channels to 4: two reductions, ten small kernels, scale and shift, SiLU, convolution."""
    (block,) = blocks_alone([(OutputSpec(48, 4), 32)], get_scale("digits-deploy")).blocks
    kernels = block_kernels(block)
    kinds = [kernel.kind for kernel in kernels]
    assert kinds == ["reduction"] * 2 + ["elementwise"] * 12 + ["sigmoid", "elementwise", "convolution"]
    last = kernels[-1]
    assert (last.rows, last.columns, last.depth) == (1024, 4, 9 * 48)
    assert last.bytes == 4 * (32 * 32 * (48 + 4) + 9 * 48 * 4 + 4)
    assert last.weight_bytes == 4 * (9 * 48 * 4 + 4)


def _transformer(**genes):
    fields = {
        "channels": 48, "depth": 1, "attention": "self_cross", "attention_function": "softmax", "expansion": 2,
        "shared_kv": False, "gating": "silu", **genes,
    }  # fmt: skip
    (block,) = blocks_alone([(TransformerSpec(**fields), 8)], get_scale("digits-deploy")).blocks
    return [kernel.kind for kernel in block_kernels(block)]


@pytest.mark.parametrize(
    ("genes", "kind", "change"),
    [
        ({"shared_kv": True}, "transpose", -1),  # keys that are values are transposed once
        ({"shared_kv": True}, "fully_connected", -1),
        ({"attention_function": "relu"}, "softmax", -2),
        ({"attention_function": "relu"}, "clamp", 2),
        ({"gating": "gelu"}, "gelu", 1),
        ({"gating": "gelu"}, "sigmoid", -1),
        ({"attention": "cross"}, "attention_scores", -1),
    ],
)
def test_genes_change_the_kernels_that_they_should(genes, kind, change):
    assert _transformer(**genes).count(kind) - _transformer().count(kind) == change


def test_the_halves_of_a_feed_forward_are_two_kernels():
    """Projections in and out, four of each attention, two halves and the contraction."""
    assert _transformer().count("fully_connected") == 2 + 2 * 4 + 3
