"""The parent's side of the converter: one long-lived child process, restarted after a crash."""

import contextlib
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from typing import BinaryIO, cast

from latency_models import litert_conversion

_REASON_CHARS = 400


class ConverterProcess:
    """Converts StableHLO bytecode in a child process, which starts with the first request and serves all later ones."""

    def __init__(self) -> None:
        """Starts nothing yet."""
        self._process: subprocess.Popen[bytes] | None = None

    def convert(self, bytecode: bytes, num_inputs: int) -> bytes:
        """The .tflite model.

        Raises:
          ValueError: The converter refuses the module, or its native code crashes.
        """
        process = self._running()
        try:
            litert_conversion.write_message(
                cast(BinaryIO, process.stdin), litert_conversion.request_message(bytecode, num_inputs)
            )
            reply = litert_conversion.read_message(cast(BinaryIO, process.stdout))
        except BrokenPipeError:
            reply = None
        if not reply:
            raise ValueError(f"LiteRT's converter {self._death(process)} on this network; {_REMEDY}")
        if reply[0] == 0:
            reason = reply[1:].decode(errors="replace")[:_REASON_CHARS]
            raise ValueError(f"LiteRT's converter refuses this network: {reason}; {_REMEDY}")
        return reply[1:]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            # -P: our folder's module names must not shadow others in the child.
            command = [sys.executable, "-P", str(Path(litert_conversion.__file__))]
            # Reasons come back as replies; what native code prints beside them is noise.
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            weakref.finalize(self, _stop, self._process)
        return self._process

    def _death(self, process: subprocess.Popen[bytes]) -> str:
        """How the child ended, in words."""
        code = process.wait()
        self._process = None
        _stop(process)
        return f"crashed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"


_REMEDY = "write the operation it names differently, or measure on device 'xla-cpu'"


def _stop(process: subprocess.Popen[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):  # unsent bytes of the request that killed it
                stream.close()
    if process.poll() is None:
        process.terminate()
        process.wait()
