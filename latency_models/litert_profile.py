"""Times of the kernels that LiteRT runs, from the profiler in its C library, which the Python package lacks."""

import ctypes
import importlib.util
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from latency_models.device import KernelTime, typical_times

_CPU = 1
_FLOAT32 = 1
_WRITE = 1
# Of the kinds of events: an operation that no delegate took, and a kernel inside one.
_OPERATION, _DELEGATED = 1 << 1, 1 << 3
_Handle = ctypes.c_void_p
_Free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_nothing_to_free = _Free(lambda _: None)


class _Event(ctypes.Structure):
    """`ProfiledEventData` of LiteRT 2.3 (litert/c/litert_profiler_event.h)."""

    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("kind", ctypes.c_int),
        ("start_us", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_size_t * 6),
        ("metadata", ctypes.c_uint64 * 2),
        ("source", ctypes.c_int),
    )


class _RankedTensorType(ctypes.Structure):
    """`LiteRtRankedTensorType` (litert/c/litert_model_types.h): the first byte of a layout holds rank and a flag."""

    _fields_ = (
        ("element_type", ctypes.c_int),
        ("rank", ctypes.c_uint32),
        ("dimensions", ctypes.c_int32 * 8),
        ("strides", ctypes.c_uint32 * 8),
    )


def profile_model(
    path: Path, inputs: Mapping[str, np.ndarray], *, output_shape: tuple[int, ...], count: int, cpu_options: str
) -> tuple[KernelTime, ...]:
    """Milliseconds of each kernel, in the order of execution.

    Args:
      path: A .tflite file of one signature and one output.
      inputs: float32, by their names in the signature.
      output_shape: Of the output.
      count: Number of runs; a run's times are whole microseconds, so several tell small kernels apart.
      cpu_options: Lines of LiteRT's options for the CPU: threads, and which kernels.

    Raises:
      RuntimeError: The library refuses a call; the message names it.
    """
    with ExitStack() as stack:
        library = _Library(stack)
        environment, compiled, names = library.compile(path, cpu_options=cpu_options, num_inputs=len(inputs))
        ins = [library.buffer(environment, compiled, "Input", i, inputs[name].shape) for i, name in enumerate(names)]
        for buffer, name in zip(ins, names, strict=True):
            library.fill(buffer, inputs[name])
        outs = [library.buffer(environment, compiled, "Output", 0, output_shape)]
        buffers = len(ins), (_Handle * len(ins))(*ins), len(outs), (_Handle * len(outs))(*outs)
        profiler = library.make("LiteRtCompiledModelGetProfiler", compiled)
        library.call("LiteRtRunCompiledModel", compiled, _size(0), *buffers)  # touches fresh memory
        runs = [library.profiled_run(profiler, compiled, buffers) for _ in range(count)]
    return typical_times([name for name, _ in runs[0]], [[us for _, us in run] for run in runs])


class _Library:
    """The C library: every call checked, everything made destroyed when the stack unwinds."""

    def __init__(self, stack: ExitStack) -> None:
        found = importlib.util.find_spec("ai_edge_litert")
        assert found is not None
        assert found.origin is not None
        self._functions = ctypes.CDLL(str(Path(found.origin).with_name("libLiteRt.so")))
        self._stack = stack

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function that returns a status."""
        status = getattr(self._functions, name)(*arguments)
        if status:
            raise RuntimeError(f"LiteRT's {name} fails with status {status}; this version's library may have changed")

    def make(self, name: str, *arguments: Any, destroy: str | None = None) -> ctypes.c_void_p:
        """What a function writes into its last argument."""
        handle = _Handle()
        self.call(name, *arguments, ctypes.byref(handle))
        if destroy:
            self._stack.callback(getattr(self._functions, destroy), handle)
        return handle

    def compile(self, path: Path, *, cpu_options: str, num_inputs: int) -> tuple[ctypes.c_void_p, ctypes.c_void_p, list[str]]:
        """Environment, compiled model, and its inputs' names in the library's order."""
        environment = self.make("LiteRtCreateEnvironment", 0, None, destroy="LiteRtDestroyEnvironment")
        model = self.make("LiteRtCreateModelFromFile", environment, str(path).encode(), destroy="LiteRtDestroyModel")
        options = self.make("LiteRtCreateOptions", destroy="LiteRtDestroyOptions")
        self.call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        for identifier, text in (
            (b"runtime_options_string", b"enable_profiling = true\n"),
            (b"xnnpack", cpu_options.encode()),
        ):
            # The options keep the text: it must outlive them, and Python frees it.
            kept = ctypes.create_string_buffer(text)
            self._stack.callback(lambda kept: None, kept)
            self.call(
                "LiteRtAddOpaqueOptions", options, self.make("LiteRtCreateOpaqueOptions", identifier, kept, _nothing_to_free)
            )
        compiled = self.make("LiteRtCreateCompiledModel", environment, model, options, destroy="LiteRtDestroyCompiledModel")
        signature = self.make("LiteRtGetModelSignature", model, _size(0))
        names = []
        for i in range(num_inputs):
            name = ctypes.c_char_p()
            self.call("LiteRtGetSignatureInputName", signature, _size(i), ctypes.byref(name))
            names.append((name.value or b"").decode())
        return environment, compiled, names

    def buffer(
        self, environment: ctypes.c_void_p, compiled: ctypes.c_void_p, kind: str, index: int, shape: tuple[int, ...]
    ) -> ctypes.c_void_p:
        """A tensor buffer for an input or output."""
        needs = self.make(f"LiteRtGetCompiledModel{kind}BufferRequirements", compiled, _size(0), _size(index))
        tensor = _RankedTensorType(_FLOAT32, len(shape), (ctypes.c_int32 * 8)(*shape))
        create = "LiteRtCreateManagedTensorBufferFromRequirements"
        return self.make(create, environment, ctypes.byref(tensor), needs, destroy="LiteRtDestroyTensorBuffer")

    def fill(self, buffer: ctypes.c_void_p, value: np.ndarray) -> None:
        """Copies values into a buffer."""
        address = _Handle()
        self.call("LiteRtLockTensorBuffer", buffer, ctypes.byref(address), _WRITE)
        ctypes.memmove(address, np.ascontiguousarray(value, np.float32).ctypes.data, value.size * 4)
        self.call("LiteRtUnlockTensorBuffer", buffer)

    def profiled_run(
        self, profiler: ctypes.c_void_p, compiled: ctypes.c_void_p, buffers: tuple[Any, ...]
    ) -> list[tuple[str, int]]:
        """Runs once: name and microseconds of each kernel."""
        for name in ("LiteRtResetProfiler", "LiteRtStartProfiler"):
            self.call(name, profiler)
        self.call("LiteRtRunCompiledModel", compiled, _size(0), *buffers)
        self.call("LiteRtStopProfiler", profiler)
        number = ctypes.c_int()
        self.call("LiteRtGetNumProfilerEvents", profiler, ctypes.byref(number))
        events = (_Event * number.value)()
        self.call("LiteRtGetProfilerEvents", profiler, number, events)
        return [(event.tag.decode(), event.elapsed_us) for event in events if event.kind in (_OPERATION, _DELEGATED)]


_size = ctypes.c_size_t
