"""Records what diffusers computes for a few small UNets: `make parity`, where torch and diffusers are installed.

Each folder under `golden/` holds the `config.json` that diffusers writes, the names and shapes of its tensors, and an npz
of inputs and output in float32. Weights are made from the tensors' names, and are not stored.
"""

import json
import sys
from pathlib import Path

import numpy as np
from recorder import run_recorder
from seeded_weights import seeded, seeded_tensor

GOLDEN = Path(__file__).parent / "golden"
_CROSS, _PLAIN = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D"), ("DownBlock2D", "UpBlock2D")
_NUM_EXAMPLES, _NUM_TOKENS = 2, 7
_TIMES = (981.0, 20.5)
_IMAGE_SPREAD = 0.05  # see `seeded_tensor`


def _sides(*levels: tuple[str, str]) -> dict[str, list[str]]:
    """Block types of both sides from those of each level, finest first."""
    return {"down_block_types": [down for down, _ in levels], "up_block_types": [up for _, up in levels[::-1]]}


CASES = {
    "sd15-narrow": {
        "block_out_channels": [32, 64, 96, 96], "attention_head_dim": 8, "cross_attention_dim": 48,
        **_sides(_CROSS, _CROSS, _CROSS, _PLAIN),
    },
    "bk-tiny-narrow": {
        "block_out_channels": [32, 64, 128], "layers_per_block": 1, "mid_block_type": None, "norm_num_groups": 8,
        "attention_head_dim": 4, "cross_attention_dim": 24, **_sides(_CROSS, _CROSS, _CROSS),
    },
    "sd2-narrow": {
        "block_out_channels": [32, 64, 128], "attention_head_dim": [2, 4, 8], "use_linear_projection": True,
        "transformer_layers_per_block": 2, "cross_attention_dim": 40, "norm_num_groups": 16, "upcast_attention": True,
        **_sides(_CROSS, _CROSS, _PLAIN),
    },
    "no-attention": {
        "block_out_channels": [32, 48, 64], "mid_block_type": "UNetMidBlock2D", "norm_num_groups": 4,
        "layers_per_block": 1, "norm_eps": 1e-6, "cross_attention_dim": 8, **_sides(_PLAIN, _PLAIN, _PLAIN),
    },
    "xl-narrow": {
        "block_out_channels": [32, 64, 96], "attention_head_dim": [2, 4, 6], "use_linear_projection": True,
        "transformer_layers_per_block": [1, 2, 3], "layers_per_block": [2, 1, 1], "cross_attention_dim": 56,
        "time_embedding_dim": 80, "in_channels": 9, "out_channels": 8, **_sides(_PLAIN, _CROSS, _CROSS),
    },
    "unequal-sides": {
        "block_out_channels": [16, 48], "attention_head_dim": 2, "norm_num_groups": 8, "layers_per_block": 1,
        "transformer_layers_per_block": [2, 1], "reverse_transformer_layers_per_block": [1, 3], "cross_attention_dim": 16,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    },
}  # fmt: skip


def record(name: str, folder: Path) -> None:
    """Builds one UNet, gives it its weights, runs it, and writes its folder."""
    import torch
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(sample_size=16, **CASES[name]).eval()
    shapes = {tensor: tuple(values.shape) for tensor, values in model.state_dict().items()}
    model.load_state_dict({tensor: torch.from_numpy(seeded_tensor(tensor, shape)) for tensor, shape in shapes.items()})
    config = model.config
    inputs = {
        "x": np.float32(_IMAGE_SPREAD) * seeded(f"{name}/x", (_NUM_EXAMPLES, config.in_channels, 16, 16)),
        "t": np.asarray(_TIMES, np.float32),
        "context": seeded(f"{name}/context", (_NUM_EXAMPLES, _NUM_TOKENS, config.cross_attention_dim)),
    }
    with torch.no_grad():
        y = model(*map(torch.from_numpy, inputs.values())).sample.numpy()
    folder.mkdir(parents=True, exist_ok=True)
    model.save_config(folder)
    (folder / "tensors.json").write_text(json.dumps(shapes, indent=0) + "\n", "utf-8")
    np.savez(folder / "io.npz", **inputs, y=y)
    print(f"{folder}: {sum(map(np.prod, shapes.values())):,} parameters, output of spread {y.std():.3f}")


def write(out: Path) -> None:
    """Records every case."""
    for name in CASES:
        record(name, out / name)


if __name__ == "__main__":
    sys.exit(run_recorder(write, description=__doc__, golden=GOLDEN, packages=("diffusers", "torch")))
