"""ONNX Runtime on the CPU: JAX to ONNX by jax2onnx, run by Microsoft's kernels."""

import functools
import importlib
import json
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latency_models.device import KernelTime, machine_fingerprint, read_options, spelled, typical_times
from latency_models.jax_reference import JaxProcess, reference_output, trace, use_cpu
from latency_models.local_device import Loader, LocalDevice
from latency_models.local_session import Runnable
from latency_models.network import Build, Network

MODEL_FILE = "model.onnx"
_WEIGHTS_FILE = "model.onnx.data"
_LARGEST_FILE_BYTES = 1 << 30  # a protobuf message ends at 2 GB; beyond this, weights get a file of their own
_PRODUCTS = ("Einsum", "Gemm")
_OPTIONS = {"threads": ("1", "2")}
_DEFAULTS = {key: values[0] for key, values in _OPTIONS.items()}


class OnnxRuntimeCpu(LocalDevice):
    """ONNX Runtime's CPU kernels; on one thread the caller's thread computes, and its CPU time counts."""

    tolerance = 1e-4

    def __init__(self, options: dict[str, str]) -> None:
        """Starts no process yet."""
        self._threads = int(options["threads"])
        self._jax = JaxProcess(use_cpu)  # not the one that other devices share: jax2onnx leaves functions of jax.numpy changed
        self.name = spelled("onnxruntime-cpu", options, _DEFAULTS)
        self.description = f"ONNX Runtime's CPU kernels on {self._threads} thread(s), float32"

    def absence(self) -> str | None:
        """Never absent once its packages are there."""
        return None

    @staticmethod
    def start() -> None:
        """ONNX Runtime's library."""
        importlib.import_module("onnxruntime")

    def convert(self, network: Network, build: Build, folder: Path) -> tuple[Loader, np.ndarray]:
        """An ONNX file, which the child loads from its path."""
        inputs, reference = self._jax.call(export, network, build, folder)
        return functools.partial(OnnxRunnable, folder / MODEL_FILE, inputs, threads=self._threads), reference

    def fingerprint(self) -> dict[str, str]:
        """Runtime, exporter and JAX version, threads and machine."""
        return {
            "device": self.name,
            "threads": str(self._threads),
            "dtype": "float32",
            "clock": "CPU time of the one computing thread" if self._threads == 1 else "CPU time of the process",
            **machine_fingerprint("onnxruntime", "jax2onnx", "onnx", "jax"),
        }


class OnnxRunnable(Runnable):
    """A session of ONNX Runtime with its inputs at hand."""

    partitions = None

    def __init__(self, path: Path, inputs: Sequence[np.ndarray], *, threads: int) -> None:
        """Loads the model and lets the runtime fuse what it can."""
        self._path, self._threads = path, threads
        self.clocks = ("thread_cpu", "wall") if threads == 1 else ("process_cpu", "wall")
        self.model_bytes = sum(file.stat().st_size for file in path.parent.glob(f"{MODEL_FILE}*"))
        self._session = self._open()
        names = [entry.name for entry in self._session.get_inputs()]
        self._feed = dict(zip(names, inputs, strict=True))
        self._output: np.ndarray | None = None

    def feed(self, inputs: Sequence[np.ndarray]) -> None:
        """Takes other inputs for the next runs."""
        self._feed = dict(zip(self._feed, inputs, strict=True))

    def run(self) -> None:
        """Runs the model once."""
        (self._output,) = self._session.run(None, self._feed)

    def output(self) -> np.ndarray:
        """A copy of the last output."""
        assert self._output is not None
        return self._output.copy()

    def profile(self, count: int) -> tuple[KernelTime, ...]:
        """Loads the model a second time with the runtime's own profiler on; nodes in the order of the graph.

        The runtime runs them in another. The name of a product has its multiply-accumulates.
        """
        with tempfile.TemporaryDirectory(prefix="pocketunet-onnxruntime-") as folder:
            session = self._open(profile_file_prefix=f"{folder}/profile", enable_profiling=True)
            for _ in range(count + 1):
                session.run(None, self._feed)
            events = json.loads(Path(session.end_profiling()).read_text())
        nodes = [event for event in events if event.get("cat") == "Node" and event["name"].endswith("_kernel_time")]
        runs = [
            sorted(run, key=lambda event: int(event["args"]["node_index"]))
            for run in np.array_split(np.array(nodes, object), count + 1)[1:]  # the first touches fresh memory
        ]
        names = [_node_name(event["args"]) for event in runs[0]]
        return typical_times(names, [[event["dur"] for event in run] for run in runs])

    def _open(self, **settings: Any) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        for name, value in settings.items():
            setattr(options, name, value)
        return onnxruntime.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])


def _node_name(node: Mapping[str, Any]) -> str:
    name = node["op_name"]
    if name not in _PRODUCTS:
        return name
    read, written = (next(iter(node[key][0].values())) for key in ("input_type_shape", "output_type_shape"))
    return f"{name} {read[-1] * math.prod(written)}"


def export(
    network: Network, build: Build, folder: Path, names: Sequence[str] = ()
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Writes the network as ONNX into a folder, with names of its inputs where they are given; its inputs, and its output.

    jax2onnx compares each node with every one before it, so that a thousand nodes take seconds and three thousand half a
    minute.
    """
    # They tell of every plugin for a library that is not installed here, and of types that need not be known.
    for name in ("jax2onnx", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import jax
    import onnx
    from jax2onnx import to_onnx

    function, inputs = build(network)
    model = to_onnx(
        function,
        [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs],
        return_mode="proto",
        input_names=names or None,
        output_names=["output"] if names else None,
    )
    large = network.weight_bytes > _LARGEST_FILE_BYTES
    onnx.save(model, folder / MODEL_FILE, save_as_external_data=large, all_tensors_to_one_file=True, location=_WEIGHTS_FILE)
    return tuple(inputs), reference_output(trace(function, inputs), inputs)


def onnxruntime_cpu(argument: str | None, options: dict[str, str]) -> OnnxRuntimeCpu:
    """The device with these options."""
    return OnnxRuntimeCpu(read_options(argument, options, _OPTIONS))
