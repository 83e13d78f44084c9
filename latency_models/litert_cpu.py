"""LiteRT on the CPU with XNNPACK's kernels: StableHLO to .tflite without TensorFlow; weights of three types."""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latency_models.device import machine_fingerprint, read_options, spelled
from latency_models.litert_file import MODEL_FILE, litert_converter
from latency_models.litert_graph import GraphOperation, left_out, listed, read_operations
from latency_models.litert_runnable import LiteRtRunnable, import_litert, open_interpreter
from latency_models.local_device import Loader, LocalDevice
from latency_models.network import Build, Network

# Largest errors as shares of the largest output, some two to three times the largest seen in networks of 900 to 1,900 kernels:
# float16 rounds each weight by up to 0.05 % (seen 1.1e-3); int8 rounds weights and activations by up to half of 1/127 of
# their largest (seen 0.012 in a block, 0.052 in a network). An operation left out or misread is an error of the order of 1.
_TOLERANCES = {"float32": 1e-4, "float16": 3e-3, "int8": 0.12}
_OPTIONS = {"threads": ("1", "2"), "dtype": tuple(_TOLERANCES)}
_DEFAULTS = {key: values[0] for key, values in _OPTIONS.items()}
_QUANTIZER = "ai-edge-quantizer"


class LiteRtCpu(LocalDevice):
    """LiteRT with XNNPACK. On one thread it is timed by that thread's CPU time, which waiting for others is not in.

    The type is that of the stored weights; inputs, outputs and sums are float32. With float16 they are unpacked once, while
    loading; with int8 (per channel; depthwise convolutions stay float32) XNNPACK rounds the activations to int8 as well, at
    every run.
    """

    def __init__(self, options: dict[str, str]) -> None:
        """Starts no process yet."""
        self._threads = int(options["threads"])
        self._dtype = options["dtype"]
        self.tolerance = _TOLERANCES[self._dtype]
        self.name = spelled("litert-cpu", options, _DEFAULTS)
        self.description = f"LiteRT with XNNPACK kernels on {self._threads} CPU thread(s), {self._dtype}"

    def absence(self) -> str | None:
        """Never absent once its packages are there."""
        return None

    @staticmethod
    def start() -> None:
        """LiteRT's interpreter."""
        import_litert()

    def convert(self, network: Network, build: Build, folder: Path) -> tuple[Loader, np.ndarray]:
        """A .tflite file, which the child loads from its path."""
        inputs, reference = litert_converter().convert(network, build, folder)
        if self._dtype != "float32":
            litert_converter().store_weights(folder, dtype=self._dtype)
        return functools.partial(load_on_xnnpack, folder / MODEL_FILE, inputs, threads=self._threads), reference

    def fingerprint(self) -> dict[str, str]:
        """Runtime, converter and JAX version, the quantizer's where it is used, threads, dtype and machine."""
        quantizer = () if self._dtype == "float32" else (_QUANTIZER,)
        return {
            "device": self.name,
            "threads": str(self._threads),
            "dtype": self._dtype,
            "clock": "CPU time of the one computing thread" if self._threads == 1 else "CPU time of the process",
            **machine_fingerprint("ai-edge-litert", "litert-converter", "jax", *quantizer),
        }


def load_on_xnnpack(path: Path, inputs: Sequence[np.ndarray], *, threads: int, names: Sequence[str] = ()) -> LiteRtRunnable:
    """A .tflite file in the interpreter, with its inputs set, and what XNNPACK makes of its graph.

    Raises:
      ValueError: LiteRT refuses the file, or XNNPACK would convert stored weights at every run.
    """
    interpreter = open_interpreter(path, num_threads=threads)
    pieces = [x for x in interpreter._get_ops_details() if x["op_name"] == "DELEGATE"]
    omitted: tuple[GraphOperation, ...] = ()
    if len(pieces) != 1:  # one piece is the whole graph
        omitted = left_out(read_operations(path), [(x["inputs"].tolist(), x["outputs"].tolist()) for x in pieces])
        check_unpacked_once(omitted)
    return LiteRtRunnable(
        path, inputs, interpreter,
        clocks=("thread_cpu", "wall") if threads == 1 else ("process_cpu", "wall"),
        profiler_options=f"num_threads = {threads}\n", names=names, partitions=len(pieces), left_out=listed(omitted),
    )  # fmt: skip


def check_unpacked_once(omitted: Sequence[GraphOperation]) -> None:
    """Refuses a model whose weights are converted anew at every run: that measures conversions."""
    found = [operation for operation in omitted if operation.kind == "DEQUANTIZE"]
    if found:
        raise ValueError(
            f"XNNPACK leaves out {', '.join(listed(found))}, so stored weights would be converted at every run; "
            "measure this network with dtype=float32"
        )


def litert_cpu(argument: str | None, options: dict[str, str]) -> LiteRtCpu:
    """The device with these options.

    Raises:
      ValueError: An option is not known, or its package is not installed.
    """
    chosen = read_options(argument, options, _OPTIONS)
    if chosen["dtype"] != "float32" and importlib.util.find_spec(_QUANTIZER.replace("-", "_")) is None:
        raise ValueError(f"option dtype={chosen['dtype']} needs {_QUANTIZER}, not installed here; install {_QUANTIZER}")
    return LiteRtCpu(chosen)
