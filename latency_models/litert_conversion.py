"""Child process that turns StableHLO bytecode into .tflite bytes, one request after the other.

It imports the converter and nothing of ours, so that it starts fast; a crash in the converter's native code ends this
process and not the caller's. A message is an 8-byte little-endian length and as many bytes. A request is the number of
inputs as 8 bytes, then the bytecode; a reply is one byte (1: done, 0: refused), then the model or the reason.
"""

import os
import sys
from importlib import import_module
from typing import BinaryIO

SIGNATURE = "serving_default"
_LENGTH_BYTES = 8
_MODULES = ("ir", "passmanager", "_mlir_libs.converter_api_ext")


def input_name(index: int) -> str:
    """The signature's name of an input."""
    return f"input{index}"


def write_message(stream: BinaryIO, payload: bytes) -> None:
    """Writes a length and the bytes, and flushes."""
    stream.write(len(payload).to_bytes(_LENGTH_BYTES, "little"))
    stream.write(payload)
    stream.flush()


def read_message(stream: BinaryIO) -> bytes | None:
    """Reads what `write_message` wrote; None where the other side is gone, in the middle of a message or before it."""
    header = stream.read(_LENGTH_BYTES)
    if len(header) < _LENGTH_BYTES:
        return None
    length = int.from_bytes(header, "little")
    payload = stream.read(length)
    return payload if len(payload) == length else None


def convert(bytecode: bytes, num_inputs: int) -> bytes:
    """The .tflite model of a StableHLO module, given as MLIR bytecode (not as JAX's serialised export)."""
    # Native modules without type stubs; imported with the first request, so that start-up errors become replies.
    ir, passmanager, api = (import_module(f"litert_converter.mlir.{name}") for name in _MODULES)

    context = ir.Context()
    api.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(bytecode)
        names = [input_name(i) for i in range(num_inputs)]
        api.set_signature(module.operation, signature_name=SIGNATURE, input_names=names, output_names=["output"])
        config = api.ConvertToTFLConfig()
        config.model_origin_framework = "JAX"
        api.run_convert_to_tfl_passes(module, passmanager.PassManager(), config)
        return bytes(api.export_flatbuffer_to_bytes(module.operation))


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answers requests until the other side closes the stream."""
    while (request := read_message(requests)) is not None:
        try:
            model = convert(request[_LENGTH_BYTES:], int.from_bytes(request[:_LENGTH_BYTES], "little"))
            write_message(replies, b"\1" + model)
        except Exception as error:  # the converter raises its own, undocumented kinds
            write_message(replies, b"\0" + str(error).encode())


def request_message(bytecode: bytes, num_inputs: int) -> bytes:
    """The request that `serve` understands."""
    return num_inputs.to_bytes(_LENGTH_BYTES, "little") + bytecode


if __name__ == "__main__":
    # Native code prints to descriptor 1; replies get a descriptor of their own.
    reply_stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, reply_stream)
