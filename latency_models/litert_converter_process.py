"""The parent's side of the converter: one long-lived child process, restarted after a crash or a large network."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

from latency_models import litert_conversion
from latency_models.jax_reference import check_free_memory
from latency_models.litert_graph import block_of

_REASON_CHARS = 400
_LARGE_BYTES = 1 << 30
# Of what is read, while the child works: measured.
_CONVERTING_COPIES, _STORING_COPIES = 4.0, 2.0
_LOCATED = re.compile(r"error: loc\((.*?)\): (.*)")


class ConverterProcess:
    """Converts in a child process, which starts with the first request and serves all later ones, one at a time."""

    def __init__(self) -> None:
        """Starts nothing yet."""
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()  # networks are loaded from several threads

    def convert(self, bytecode: Path, model: Path, *, input_names: Sequence[str]) -> None:
        """Writes the .tflite model of a module, given as StableHLO bytecode.

        Raises:
          ValueError: The converter refuses the module (which operation, in which block), its native code crashes, or
            memory does not suffice.
        """
        arguments = {"bytecode": str(bytecode), "model": str(model), "input_names": list(input_names)}
        refusal = self._ask("convert", arguments, reads=bytecode, copies=_CONVERTING_COPIES, who="LiteRT's converter")
        if refusal is not None:
            raise ValueError(f"LiteRT's converter refuses this network: {_reason(refusal)}; {_REMEDY}")

    def store_weights(self, model: Path, stored: Path, *, dtype: str) -> None:
        """Writes a .tflite model again, its weights stored as `dtype`.

        Raises:
          ValueError: The quantizer refuses the model or crashes, or memory does not suffice.
        """
        arguments = {"model": str(model), "stored": str(stored), "dtype": dtype}
        refusal = self._ask("store_weights", arguments, reads=model, copies=_STORING_COPIES, who="LiteRT's quantizer")
        if refusal is not None:
            raise ValueError(
                f"LiteRT's quantizer cannot store this network's weights as {dtype}: {refusal[:_REASON_CHARS]}; "
                "measure it with dtype=float32"
            )

    def close(self) -> None:
        """Ends the child; the next request starts another."""
        with self._lock:
            self._end()

    def _ask(self, function: str, arguments: Mapping[str, Any], *, reads: Path, copies: float, who: str) -> str | None:
        """Why the request is refused; None where it is done."""
        with self._lock:
            large = reads.stat().st_size > _LARGE_BYTES
            if large:
                self._end()
                check_free_memory(int(copies * reads.stat().st_size), who)
            process = self._running()
            try:
                cast(IO[str], process.stdin).write(json.dumps({"function": function, "arguments": arguments}) + "\n")
                cast(IO[str], process.stdin).flush()
                reply = cast(IO[str], process.stdout).readline()
            except BrokenPipeError:
                reply = ""
            if not reply:
                raise ValueError(f"{who} {self._death(process)} on this network; {_REMEDY}")
            if large:
                self._end()
            answer = json.loads(reply)
            if (number := answer["errno"]) is not None:  # of a full disk, above all
                raise OSError(number, os.strerror(number), arguments.get("stored", arguments["model"]))
            return answer["refusal"]

    def _end(self) -> None:
        if self._process is not None:
            _stop(self._process)
            self._process = None

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            # -P: our folder's module names must not shadow others in the child.
            command = [sys.executable, "-P", str(Path(litert_conversion.__file__))]
            # Reasons come back as replies; what native code prints beside them is noise.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            weakref.finalize(self, _stop, self._process)
        return self._process

    def _death(self, process: "subprocess.Popen[str]") -> str:
        """How the child ended, in words."""
        code = process.wait()
        self._end()
        return f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"


_REMEDY = "write the operation it names differently, or measure on device 'xla-cpu'"


def _reason(refusal: str) -> str:
    """The converter's first error in its own words, behind the block that it is about."""
    located = _LOCATED.search(refusal)
    block = block_of(located[1]) if located else None
    told = located[2] if located else refusal
    return (f"in block {block}: " if block else "") + told[:_REASON_CHARS]


def _stop(process: "subprocess.Popen[str]") -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):  # an unsent request of the child that died
                stream.close()
    if process.poll() is None:
        process.terminate()
        process.wait()
