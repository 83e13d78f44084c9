"""The formats, as data: which file, which types, what must be installed, and how a graph is written and run again.

A runtime that crashes is a message: graphs are lowered, converted and run in child processes, as they are for timing.
"""

import dataclasses
import functools
import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.errors import InputError
from experiments.exports.graphs import Dtype, Graph
from experiments.exports.stablehlo import run_stablehlo, write_stablehlo
from experiments.weights import import_weights, write_diffusers
from latency_models import litert_file, onnxruntime_cpu
from latency_models.coreml_package import run_coreml, start_coreml, write_coreml
from latency_models.jax_reference import JaxProcess, compute_each, jax_process, use_cpu
from latency_models.litert_cpu import load_on_xnnpack
from latency_models.litert_runnable import import_litert
from latency_models.local_session import LocalSession

_ALL: tuple[Dtype, ...] = ("float32", "float16", "int8")
_DIFFUSERS_DTYPES = {"float32": "F32", "float16": "F16"}


@dataclasses.dataclass(frozen=True)
class Exported:
    """A graph that was written and run again.

    Attributes:
        files: what was written, names in the folder.
        outputs: of each call.
        facts: what else is known of it, for the record.
    """

    files: tuple[str, ...]
    outputs: Sequence[np.ndarray]
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Format:
    """A format that graphs are exported into.

    Attributes:
        export: writes a graph into a folder with weights of a type, and runs what it wrote.
        dtypes: in which weights can be stored.
        runtime: what runs the file for the comparison.
        libraries: distributions whose versions the result depends on.
        modules: that must be importable, for all types.
        modules_of: that a type needs besides.
        is_graph: whether it says what is computed, and so takes every architecture and the prompt encoder too; else it has
            weights alone.
    """

    export: Callable[[Graph, Path, Dtype], Exported]
    dtypes: tuple[Dtype, ...]
    runtime: str
    libraries: tuple[str, ...]
    modules: tuple[str, ...] = ()
    modules_of: dict[Dtype, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    is_graph: bool = True


def get_format(name: str, dtype: Dtype) -> Format:
    """The format of that name, which has weights of that type, and whose packages are there.

    Raises:
        InputError: one of these is not so; the message says what there is, or what to install.
    """
    if name not in FORMATS:
        raise InputError(f"--format {name} is not known; known are {', '.join(FORMATS)}")
    found = FORMATS[name]
    if dtype not in found.dtypes:
        others = ", ".join(other for other, entry in FORMATS.items() if dtype in entry.dtypes)
        raise InputError(f"--format {name} has no {dtype} weights, only {', '.join(found.dtypes)}; for {dtype} use {others}")
    needed = (*found.modules, *found.modules_of.get(dtype, ()))
    if missing := [module for module in needed if importlib.util.find_spec(module) is None]:
        packages = " and ".join(module.replace("_", "-") for module in missing)
        raise InputError(f"--format {name} with --dtype {dtype} needs {packages}, not installed here; `make install` brings it")
    return found


def _litert(graph: Graph, folder: Path, dtype: Dtype) -> Exported:
    """int8 is LiteRT's own kind: XNNPACK rounds activations as well, and multiplies in int8."""
    file, converter = folder / f"{graph.name}.tflite", litert_file.litert_converter()
    converter.convert(graph.network, graph.build(), folder, names=graph.arguments)
    if dtype != "float32":
        converter.store_weights(folder, dtype=dtype)
    (folder / litert_file.MODEL_FILE).rename(file)
    load = functools.partial(load_on_xnnpack, file, graph.calls[0], threads=1, names=graph.arguments)
    session = LocalSession(load, start=import_litert, subject="LiteRT")
    try:
        facts = {"xnnpack_partitions": session.loaded.partitions, "not_in_xnnpack": list(session.loaded.left_out)}
        return Exported((file.name,), [session.output_of(call) for call in graph.calls], facts)
    finally:
        session.close()


def _onnx(graph: Graph, folder: Path, dtype: Dtype) -> Exported:
    """Weights are stored in the type, and cast to float32 in the graph; those of a large network lie beside it, by name."""
    own = folder / graph.name
    own.mkdir()
    _onnx_process().call(onnxruntime_cpu.export, graph.network, graph.build(dtype), own, graph.arguments)
    file = own / onnxruntime_cpu.MODEL_FILE
    load = functools.partial(onnxruntime_cpu.OnnxRunnable, file, graph.calls[0], threads=1)
    session = LocalSession(load, start=onnxruntime_cpu.OnnxRuntimeCpu.start, subject="ONNX Runtime")
    try:
        outputs = [session.output_of(call) for call in graph.calls]
    finally:
        session.close()
    return Exported(_files(own, folder), outputs)


@functools.cache
def _onnx_process() -> JaxProcess:
    """Not the one that computes references: jax2onnx leaves functions of jax.numpy changed."""
    return JaxProcess(use_cpu)


def _stablehlo(graph: Graph, folder: Path, dtype: Dtype) -> Exported:
    """Weights are stored in the type, and converted to float32 in the graph."""
    file = folder / f"{graph.name}.stablehlo"
    jax_process().call(write_stablehlo, graph.network, graph.build(dtype), file)
    return Exported((file.name,), jax_process().call(run_stablehlo, graph.network, file, graph.calls))


@functools.cache
def _coreml_process() -> JaxProcess:
    """One of its own, in which nothing is printed."""
    return JaxProcess(start_coreml)


def _coreml(graph: Graph, folder: Path, dtype: Dtype) -> Exported:
    """Core ML runs on Apple's systems only: the package that was saved is interpreted, operation by operation."""
    package, process = folder / f"{graph.name}.mlpackage", _coreml_process()
    process.call(write_coreml, graph.network, graph.build(), package, dtype)
    outputs = process.call(run_coreml, graph.network, package, graph.calls)
    return Exported(_files(package, folder), outputs)


def _safetensors(graph: Graph, folder: Path, dtype: Dtype) -> Exported:
    """Read back as any folder of diffusers' would be, since diffusers itself needs torch."""
    files = write_diffusers(graph.bundle, folder, dtype=_DIFFUSERS_DTYPES[dtype])
    with tempfile.TemporaryDirectory(prefix="pocketunet-export-") as work:
        length = graph.network.scale.context_length
        again = dataclasses.replace(graph, bundle=import_weights(folder, Path(work) / "again", context_length=length))
        return Exported(files, reference_outputs(again))


def _files(inside: Path, folder: Path) -> tuple[str, ...]:
    return tuple(sorted(str(file.relative_to(folder)) for file in inside.rglob("*") if file.is_file()))


def reference_outputs(graph: Graph) -> Sequence[np.ndarray]:
    """What Flax computes for the graph's calls, in float32 on the CPU."""
    return jax_process().call(compute_each, graph.network, graph.build(), graph.calls)


FORMATS: dict[str, Format] = {
    "litert": Format(
        _litert, _ALL, "LiteRT with XNNPACK, one thread", ("ai-edge-litert", "litert-converter", "ai-edge-quantizer"),
        modules=("ai_edge_litert", "litert_converter"),
        modules_of={"float16": ("ai_edge_quantizer",), "int8": ("ai_edge_quantizer",)},
    ),
    "onnx": Format(
        _onnx, _ALL, "ONNX Runtime on the CPU, one thread", ("jax2onnx", "onnx", "onnxruntime"),
        modules=("jax2onnx", "onnx", "onnxruntime"),
    ),
    "stablehlo": Format(_stablehlo, _ALL, "XLA on the CPU, through jax.export", ("jaxlib",)),
    "coreml": Format(
        _coreml, _ALL, "NumPy, which interprets the saved package: Core ML itself has not run it",
        ("coremltools", "stablehlo-coreml"), modules=("coremltools", "stablehlo_coreml"),
    ),
    "safetensors": Format(
        _safetensors, ("float32", "float16"), "Flax, after `weights import` of what was written", ("safetensors",),
        is_graph=False,
    ),
}  # fmt: skip
