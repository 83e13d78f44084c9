"""Exports a bundle for a runtime: files that were run and held to Flax's output before they get their name."""

import json
from pathlib import Path
from typing import Any

from experiments.bundle import WEIGHTS, WEIGHTS_DIGEST, Bundle, file_sha256, read_bundle
from experiments.bundle_folders import new_folder, refuse_existing
from experiments.errors import InputError
from experiments.exports.comparison import LIMITS, Comparison, WrongExportError, compare_outputs
from experiments.exports.formats import FORMATS, Exported, Format, get_format, reference_outputs
from experiments.exports.graphs import NETWORK, Dtype, Graph, bundle_graphs
from experiments.exports.sampling_record import sampling_record
from experiments.provenance import library_versions

RECORD = "export.json"
RECORD_SCHEMA = 1
NUM_CALLS = 5
_LIBRARIES = ("jax", "flax", "numpy")


def export_bundle(
    path: Path, *, to: str, dtype: Dtype = "float32", batch_size: int = 1, out: Path | None = None
) -> tuple[Path, dict[str, Comparison]]:
    """Writes a folder with the network in a format, the prompt encoder where there is one, and `export.json`.

    Args:
        path: the bundle.
        to: name of the format.
        dtype: in which the network's weights are stored; the prompt encoder's stay float32.
        batch_size: images of one call; guidance takes two.
        out: the new folder, which must not exist; where it is not given, `BUNDLE/FORMAT-DTYPE`, with `-batchN` behind it where
            a call has more than one image.

    Returns:
        The folder, and how far each graph is from Flax's output.

    Raises:
        InputError: the folder exists, the bundle is damaged, the format cannot say the network, or a package is missing.
        WrongExportError: a graph's error is beyond `LIMITS`, or its output has another shape.
    """
    batch = f"-batch{batch_size}" if batch_size > 1 else ""
    out = out or path / f"{to}-{dtype}{batch}"
    refuse_existing(out)
    chosen, bundle = get_format(to, dtype), read_bundle(path)
    weights = file_sha256(path / WEIGHTS)
    graphs = bundle_graphs(path, bundle, batch_size=batch_size, num_calls=NUM_CALLS)
    comparisons, records = {}, {}
    with new_folder(out) as folder:
        for graph in graphs if chosen.is_graph else graphs[:1]:
            stored = dtype if graph.name == NETWORK else "float32"
            exported = _exported(chosen, graph, folder, stored, to)
            try:
                comparison = compare_outputs(exported.outputs, reference_outputs(graph), limit=LIMITS[stored])
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
            if not comparison.is_within_limit:
                raise WrongExportError(
                    f"{path}: --format {to}: the {graph.name} computes something else, and was not kept: {comparison}"
                )
            comparisons[graph.name] = comparison
            records[graph.name] = _graph_record(graph, exported, comparison, stored)
        record = {
            "schema": RECORD_SCHEMA, "format": to, "dtype": dtype, "batch_size": batch_size, **_bundle_record(bundle, weights),
            "graphs": records, "files": _files_record(folder), "runtime": chosen.runtime,
            "versions": library_versions((*_LIBRARIES, *chosen.libraries)), "sampling": sampling_record(bundle),
        }  # fmt: skip
        (folder / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", "utf-8")
    return out, comparisons


def _exported(chosen: Format, graph: Graph, folder: Path, dtype: Dtype, to: str) -> Exported:
    try:
        return chosen.export(graph, folder, dtype)
    except ValueError as error:
        others = ", ".join(name for name, entry in FORMATS.items() if entry.is_graph and name != to)
        raise InputError(f"--format {to}: {error}; try --format {others}, which take graphs of any architecture") from None


def _bundle_record(bundle: Bundle, weights: str) -> dict[str, Any]:
    return {
        "digest": bundle.architecture.digest,
        "origin": bundle.settings.origin,
        "scale": bundle.task.scale.name,
        WEIGHTS_DIGEST: weights,
    }


def _graph_record(graph: Graph, exported: Exported, comparison: Comparison, dtype: Dtype) -> dict[str, Any]:
    return {
        "files": list(exported.files),
        "dtype": dtype,
        "inputs": graph.inputs_record(),
        "output": {"name": "output", "shape": list(exported.outputs[0].shape), "dtype": exported.outputs[0].dtype.name},
        "compared_with": "Flax in float32 on the CPU",
        "num_calls": comparison.num_calls,
        "relative_error": comparison.relative_error,
        "relative_rms_error": comparison.relative_rms_error,
        "limit": comparison.limit,
        **exported.facts,
    }


def _files_record(folder: Path) -> dict[str, Any]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(x.relative_to(folder)): {"bytes": x.stat().st_size, "sha256": file_sha256(x)} for x in files}
