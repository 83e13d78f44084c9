"""Diffusers `unet/` folders made up for the tests: a small network of seeded numbers, in one file."""

import json
import pathlib
from typing import Any

import numpy as np
from parity.seeded_weights import seeded_tensor
from safetensors.numpy import save_file

from search_space import layer_plan
from supernet.diffusers_config import unet_from_config
from supernet.diffusers_tensors import correspondences

FILE = "diffusion_pytorch_model.safetensors"
CONFIG: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel", "sample_size": 8, "block_out_channels": [8, 16], "cross_attention_dim": 6,
    "norm_num_groups": 4, "attention_head_dim": 2, "layers_per_block": 1, "in_channels": 3, "out_channels": 3,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}  # fmt: skip


def unet_tensors(config: dict[str, Any], dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """The tensors of a configuration, with numbers that hang on their names."""
    unet = unet_from_config(config)
    table = correspondences(layer_plan(unet.architecture, unet.scale), has_linear_projections=unet.has_linear_projections)
    return {entry.tensor: seeded_tensor(entry.tensor, entry.shape).astype(dtype) for entry in table}


def make_unet_folder(folder: pathlib.Path, *, dtype: Any = np.float32, **changes: Any) -> pathlib.Path:
    """Writes a folder; `changes` replace keys of its configuration."""
    config = {**CONFIG, **changes}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(unet_tensors(config, dtype), folder / FILE, metadata={"format": "pt"})
    return folder
