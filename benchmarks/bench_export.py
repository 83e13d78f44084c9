"""How far exported networks are from Flax's: five architectures of `digits-small`, in every format and type of weights.

They are the smallest, the largest and three random ones: softmax and ReLU attention, full and separable convolutions, several
widths. Weights are random, none of them zero. Contexts come encoded, so that there is no prompt encoder.
"""

import argparse
import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from record import write_result

from experiments.bundle import Bundle, TrainingSettings, write_bundle
from experiments.bundle_quality import expectations
from experiments.errors import InputError
from experiments.exports.export import NUM_CALLS, RECORD, export_bundle
from experiments.exports.formats import FORMATS
from search_space import Architecture, get_scale, get_space
from supernet import UNet, unet_parameters
from supernet.initializer import Initializer, random_initializer

SCALE = dataclasses.replace(get_scale("digits-proxy"), name="digits-proxy, contexts encoded", vocabulary=0)
_SEED = 0


def main() -> None:
    """Exports, and writes `results/export.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", dest="formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="Only these.")
    formats = parser.parse_args().formats
    with tempfile.TemporaryDirectory() as work:
        bundles = {name: _bundle(Path(work) / name, architecture) for name, architecture in _architectures()}
        numbers = {f"{to}_{dtype}": _number(bundles, to, dtype, Path(work)) for to in formats for dtype in FORMATS[to].dtypes}
    write_result(
        "export",
        shows="The largest difference between an exported network's output and Flax's, as a share of the largest output, over "
        f"five architectures of `digits-small` at digits-proxy and {NUM_CALLS} time steps each; n counts the calls compared, "
        "`not_expressible` the architectures that the format refuses.",
        command="python benchmarks/bench_export.py",
        numbers=numbers,
    )


def _architectures() -> Iterator[tuple[str, Architecture]]:
    space, rng = get_space("digits-small"), np.random.default_rng(_SEED)
    yield "smallest", space.smallest()
    yield "largest", space.largest()
    for i in range(3):
        yield f"random{i}", space.sample(rng)


def _bundle(folder: Path, architecture: Architecture) -> Path:
    settings = TrainingSettings.model_validate({"origin": "drawn", "scale": dataclasses.asdict(SCALE), "data": None})
    bundle = Bundle(architecture.canonical(), settings, {"network": {}, "prompt": {}})
    bundle.parameters["network"].update(unet_parameters(UNet(bundle.plan, init=_without_zeros())))
    write_bundle(folder, bundle, expected=expectations(bundle), card="")
    return folder


def _without_zeros() -> Initializer:
    draw = random_initializer(_SEED)
    return lambda shape, *, std, mean=0.0: draw(shape, std=std or 0.05, mean=mean)


def _number(bundles: dict[str, Path], to: str, dtype: Any, work: Path) -> dict[str, Any]:
    graphs, refused = {}, 0
    for name, bundle in bundles.items():
        try:
            out, _ = export_bundle(bundle, to=to, dtype=dtype, out=work / f"{name}-{to}-{dtype}")
        except InputError:
            refused += 1
            continue
        record = json.loads((out / RECORD).read_text())
        graphs[name] = record["graphs"]["network"] | {"bytes": sum(entry["bytes"] for entry in record["files"].values())}
        print(f"{to} {dtype} {name}: {graphs[name]['relative_error']:.2e}", flush=True)
    errors = [graph["relative_error"] for graph in graphs.values()]
    found = {
        "value": max(errors, default=None), "unit": "of the largest output", "n": NUM_CALLS * len(errors), "low": None,
        "high": None, "rms": max((graph["relative_rms_error"] for graph in graphs.values()), default=None),
        "bytes": {name: graph["bytes"] for name, graph in graphs.items()}, "not_expressible": refused,
    }  # fmt: skip
    partitions = [graph["xnnpack_partitions"] for graph in graphs.values() if "xnnpack_partitions" in graph]
    return found | ({"most_partitions": max(partitions)} if partitions else {})


if __name__ == "__main__":
    main()
