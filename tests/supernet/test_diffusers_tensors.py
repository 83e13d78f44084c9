"""Tensors of diffusers and parameters of ours: one to one, with their axes where they belong."""

import numpy as np
import pytest

from search_space import layer_plan
from supernet import UNet, unet_parameters
from supernet.diffusers_config import unet_from_config
from supernet.diffusers_tensors import Correspondence, correspondences
from supernet.initializer import abstract_initializer

CONFIG = {
    "_class_name": "UNet2DConditionModel", "sample_size": 16, "block_out_channels": [16, 32], "cross_attention_dim": 8,
    "norm_num_groups": 8, "attention_head_dim": 2, "transformer_layers_per_block": 2, "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}  # fmt: skip


@pytest.fixture(scope="module")
def plan():
    unet = unet_from_config(CONFIG)
    return layer_plan(unet.architecture, unet.scale)


def test_every_parameter_is_in_exactly_one_tensor_and_no_number_is_lost(plan):
    table = correspondences(plan)
    shapes = {path: array.shape for path, array in unet_parameters(UNet(plan, init=abstract_initializer)).items()}
    assert sorted(path for entry in table for path in entry.paths) == sorted(shapes)
    assert len({entry.tensor for entry in table}) == len(table)
    assert sum(int(np.prod(entry.shape)) for entry in table) == plan.parameters
    for entry in table:
        ours = entry.to_ours(np.zeros(entry.shape))
        assert {path: array.shape for path, array in ours.items()} == {path: shapes[path] for path in entry.paths}


def test_names_and_shapes_are_those_of_diffusers(plan):
    shapes = {entry.tensor: entry.shape for entry in correspondences(plan)}
    assert shapes["conv_in.weight"] == (16, 4, 3, 3)
    assert shapes["time_embedding.linear_2.bias"] == (64,)
    assert shapes["down_blocks.0.downsamplers.0.conv.weight"] == (16, 16, 3, 3)
    assert shapes["down_blocks.1.resnets.0.conv_shortcut.weight"] == (32, 16, 1, 1)
    assert shapes["mid_block.attentions.0.transformer_blocks.1.attn2.to_k.weight"] == (32, 8)
    assert shapes["up_blocks.0.upsamplers.0.conv.weight"] == (32, 32, 3, 3)
    assert shapes["up_blocks.1.attentions.1.transformer_blocks.0.ff.net.0.proj.weight"] == (128, 16)
    assert shapes["up_blocks.1.resnets.1.norm1.weight"] == (32,)


def test_projections_are_convolutions_or_linear_layers(plan):
    name = "down_blocks.0.attentions.0.proj_in.weight"
    for is_linear, shape in ((False, (16, 16, 1, 1)), (True, (16, 16))):
        shapes = {entry.tensor: entry.shape for entry in correspondences(plan, has_linear_projections=is_linear)}
        assert shapes[name] == shape
        assert shapes["down_blocks.1.resnets.0.conv_shortcut.weight"] == (32, 16, 1, 1)


def test_there_and_back_again_is_the_identity(plan):
    rng = np.random.default_rng(0)
    for is_linear in (False, True):
        for entry in correspondences(plan, has_linear_projections=is_linear):
            tensor = rng.standard_normal(entry.shape)
            np.testing.assert_array_equal(entry.to_theirs(list(entry.to_ours(tensor).values())), tensor)


def test_axes_and_halves_land_where_they_belong():
    kernel = np.arange(2 * 3 * 9).reshape(2, 3, 3, 3)  # [out, in, height, width]
    ours = Correspondence("t", kernel.shape, ("k",), "convolution").to_ours(kernel)["k"]
    assert ours[0, 2, 1, 1] == kernel[1, 1, 0, 2]
    matrix = np.arange(8).reshape(4, 2)  # [value and gate, in]
    halves = Correspondence("t", matrix.shape, ("value", "gate"), "matrix").to_ours(matrix)
    np.testing.assert_array_equal(halves["value"], matrix[:2].T)
    np.testing.assert_array_equal(halves["gate"], matrix[2:].T)
    bias = Correspondence("t", (4,), ("value", "gate"), "vector").to_ours(np.arange(4))
    assert bias["gate"].tolist() == [2, 3]
