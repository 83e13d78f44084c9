"""How much memory it takes to build, import and read SD-1.5's UNet, against its weights: the promise for building is under 1.3.

Each is measured in a process of its own, as the peak of its resident memory (VmHWM, Linux) less what its imports took.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from record import write_result

SD15 = {
    "_class_name": "UNet2DConditionModel", "sample_size": 64, "cross_attention_dim": 768,
    "block_out_channels": [320, 640, 1280, 1280], "attention_head_dim": 8, "layers_per_block": 2,
}  # fmt: skip
NAMES = ("build", "import", "read")


def main() -> None:
    """Measures in child processes and writes `results/weights_memory.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help="Folder for 7 GB of temporary files.  [default: the system's]")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(_peak(options.child, options.work)))
        return
    weights = _weight_bytes()
    numbers = {"weights": {"value": weights, "unit": "bytes", "n": 1, "low": None, "high": None}}
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        _write_folder(Path(work) / "unet")
        for name in NAMES:
            peak = _child(name, Path(work))
            number = {"value": peak, "unit": "bytes", "n": 1, "low": None, "high": None}
            numbers[f"{name}_peak"] = {**number, "of_weights": round(peak / weights, 4)}
            print(f"{name}: {peak / 1e9:.2f} GB, {peak / weights:.3f} of the weights", flush=True)
    write_result(
        "weights_memory",
        shows="Peak resident memory of building SD-1.5's UNet in float32, importing it from a diffusers folder and reading the "
        "bundle, less that of the imports; `of_weights` is its ratio to the 3.44 GB of weights.",
        command="python benchmarks/bench_weights_memory.py",
        numbers=numbers,
    )


def _unet():
    from supernet.diffusers_config import unet_from_config

    return unet_from_config(SD15)


def _plan():
    from search_space import layer_plan

    return layer_plan(_unet().architecture, _unet().scale)


def _weight_bytes() -> int:
    return 4 * _plan().parameters


def _write_folder(folder: Path) -> None:
    """A diffusers folder of SD-1.5's shape whose numbers mean nothing."""
    import numpy as np

    from experiments.safetensors_stream import TensorType, write_safetensors
    from supernet.diffusers_tensors import correspondences

    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SD15))
    shapes = {entry.tensor: entry.shape for entry in correspondences(_plan())}
    types = {name: TensorType("F32", shape) for name, shape in shapes.items()}
    file = folder / "diffusion_pytorch_model.safetensors"
    write_safetensors(file, types, lambda name: np.full(shapes[name], 0.01, np.float32))


def _child(name: str, work: Path) -> int:
    command = [sys.executable, __file__, "--child", name, "--work", str(work)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _peak(name: str, work: Path) -> int:
    action = {"build": _build, "import": _import, "read": _read}[name](work)
    before = _high_water_bytes()
    kept = action()
    peak = _high_water_bytes() - before
    del kept
    return peak


def _build(work: Path) -> Callable[[], object]:
    import jax.numpy as jnp

    from supernet import UNet
    from supernet.initializer import random_initializer

    del work
    plan = _plan()
    jnp.zeros(1).block_until_ready()  # starts the backend
    return lambda: UNet(plan, init=random_initializer(0))


def _import(work: Path) -> Callable[[], object]:
    from experiments.weights import import_weights

    return lambda: import_weights(work / "unet", work / "bundle")


def _read(work: Path) -> Callable[[], object]:
    import jax.numpy as jnp

    from experiments.bundle import read_bundle

    jnp.zeros(1).block_until_ready()
    return lambda: read_bundle(work / "bundle")


def _high_water_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("this benchmark reads VmHWM from /proc/self/status, which this system does not have; run it on Linux")


if __name__ == "__main__":
    main()
