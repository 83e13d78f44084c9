"""Child process that turns StableHLO bytecode into .tflite files, one request after the other.

It imports the converter and nothing of ours, so that it starts fast; a crash in the converter's native code ends this
process and not the caller's. A request is a line of JSON with the keys `bytecode`, `model` (paths) and `num_inputs`; a
reply is one with `refusal`, null where the model was written.
"""

import json
import os
import sys
from importlib import import_module
from typing import TextIO

SIGNATURE = "serving_default"
_MODULES = ("ir", "passmanager", "_mlir_libs.converter_api_ext")


def input_name(index: int) -> str:
    """The signature's name of an input."""
    return f"input{index}"


def convert(bytecode: str, model: str, num_inputs: int) -> None:
    """Writes the .tflite model of a StableHLO module, given as MLIR bytecode (not as JAX's serialised export)."""
    # Native modules without type stubs; imported with the first request, so that start-up errors become replies.
    ir, passmanager, api = (import_module(f"litert_converter.mlir.{name}") for name in _MODULES)

    context = ir.Context()
    api.prepare_mlir_context(context)
    with context:
        with open(bytecode, "rb") as file:
            module = ir.Module.parse(file.read())
        names = [input_name(i) for i in range(num_inputs)]
        api.set_signature(module.operation, signature_name=SIGNATURE, input_names=names, output_names=["output"])
        config = api.ConvertToTFLConfig()
        config.model_origin_framework = "JAX"
        api.run_convert_to_tfl_passes(module, passmanager.PassManager(), config)
        with open(model, "wb") as file:
            file.write(api.export_flatbuffer_to_bytes(module.operation))


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answers requests until the other side closes the stream."""
    for line in requests:
        refusal = None
        try:
            convert(**json.loads(line))
        except Exception as error:  # the converter raises its own, undocumented kinds
            refusal = str(error)
        replies.write(json.dumps({"refusal": refusal}) + "\n")
        replies.flush()


if __name__ == "__main__":
    # Native code prints to descriptor 1; replies get a descriptor of their own.
    reply_stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, reply_stream)
