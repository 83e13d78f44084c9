"""The parent's side of the converter: one long-lived child process, restarted after a crash or a large network."""

import contextlib
import json
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from typing import IO, cast

from latency_models import litert_conversion
from latency_models.jax_reference import check_free_memory

_REASON_CHARS = 400
_LARGE_BYTES = 1 << 30
_COPIES = 4.0  # of the weights, while the converter works


class ConverterProcess:
    """Converts StableHLO bytecode in a child process, which starts with the first request and serves all later ones."""

    def __init__(self) -> None:
        """Starts nothing yet."""
        self._process: subprocess.Popen[str] | None = None

    def convert(self, bytecode: Path, model: Path, *, num_inputs: int) -> None:
        """Writes the .tflite model of a module.

        Raises:
          ValueError: The converter refuses the module, its native code crashes, or memory does not suffice.
        """
        large = bytecode.stat().st_size > _LARGE_BYTES
        if large:
            self.close()
            check_free_memory(int(_COPIES * bytecode.stat().st_size), "LiteRT's converter")
        process = self._running()
        request = {"bytecode": str(bytecode), "model": str(model), "num_inputs": num_inputs}
        try:
            cast(IO[str], process.stdin).write(json.dumps(request) + "\n")
            cast(IO[str], process.stdin).flush()
            reply = cast(IO[str], process.stdout).readline()
        except BrokenPipeError:
            reply = ""
        if not reply:
            raise ValueError(f"LiteRT's converter {self._death(process)} on this network; {_REMEDY}")
        if (refusal := json.loads(reply)["refusal"]) is not None:
            raise ValueError(f"LiteRT's converter refuses this network: {refusal[:_REASON_CHARS]}; {_REMEDY}")
        if large:
            self.close()

    def close(self) -> None:
        """Ends the child; the next request starts another."""
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
        self.close()
        return f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"


_REMEDY = "write the operation it names differently, or measure on device 'xla-cpu'"


def _stop(process: "subprocess.Popen[str]") -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):  # an unsent request of the child that died
                stream.close()
    if process.poll() is None:
        process.terminate()
        process.wait()
