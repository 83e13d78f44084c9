"""Kernels cover a plan exactly, and features are sums over them."""

import numpy as np

from latency_models.features import COLUMNS, features, sum_kernels
from latency_models.kernels import kernels
from search_space import get_scale, get_space, layer_plan


def test_kernels_hold_every_mac_of_the_plan(plans):
    for plan in plans:
        assert sum(kernel.macs for kernel in kernels(plan)) == plan.macs


def test_features_are_sums_over_kernels(plans):
    rows = features(plans)
    for plan, row in zip(plans[:10], rows, strict=False):
        np.testing.assert_array_equal(row, sum_kernels(kernels(plan)))


def test_every_class_with_a_product_has_a_column_for_its_macs_or_bytes(plans):
    kinds = {kernel.kind for plan in plans for kernel in kernels(plan) if kernel.macs}
    assert kinds == {
        "convolution", "depthwise_convolution", "fully_connected", "matrix_vector",
        "attention_scores", "attention_values",
    }  # fmt: skip
    assert all(any(column.startswith(f"{kind}.") for column in COLUMNS) for kind in kinds)


def test_one_block_by_hand():
    """The head of the smallest network: 32x32 pixels, the finest level's channels to 4."""
    space, scale = get_space("digits"), get_scale("digits-deploy")
    plan = layer_plan(space.smallest(), scale)
    kinds = [kernel.kind for kernel in kernels(plan)][-14:]
    assert kinds == [*["reduction"] * 2, *["tiny"] * 7, *["elementwise"] * 2, "sigmoid", "elementwise", "convolution"]
    last = kernels(plan)[-1]
    channels = plan.blocks[-1].operations[-1].in_shape[-1]
    assert last.macs == 32 * 32 * 9 * channels * 4
    assert last.bytes == 4 * (32 * 32 * (channels + 4) + 9 * channels * 4 + 4)


def test_activation_of_the_gate_is_gelu_and_of_blocks_sigmoid(plans):
    plan = next(p for p in plans if any(b.name.endswith("transformer") for b in p.blocks))
    found = {kernel.kind for kernel in kernels(plan)}
    assert {"gelu", "sigmoid"} <= found
