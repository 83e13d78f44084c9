"""Child process that turns StableHLO bytecode into .tflite files, and float32 weights into smaller ones, by requests.

It imports the converter and nothing of ours, so that it starts fast; a crash in the converter's native code ends this
process and not the caller's. A request is a line of JSON, an object with the name of a function and its arguments; a
reply is one with `refusal`, null where the file was written.
"""

import json
import os
import sys
from importlib import import_module
from typing import Any, TextIO

SIGNATURE, OUTPUT = "serving_default", "output"
_MODULES = ("ir", "passmanager", "_mlir_libs.converter_api_ext")
_DIALECTS = ("tfl", "func", "builtin", "arith")


def convert(bytecode: str, model: str, input_names: list[str]) -> None:
    """Writes the .tflite model of a StableHLO module, given as MLIR bytecode (not as JAX's serialised export)."""
    # Native modules without type stubs; imported with the first request, so that start-up errors become replies.
    ir, passmanager, api = (import_module(f"litert_converter.mlir.{name}") for name in _MODULES)

    context = ir.Context()
    api.prepare_mlir_context(context)
    with context:
        with open(bytecode, "rb") as file:
            module = ir.Module.parse(file.read())
        api.set_signature(module.operation, signature_name=SIGNATURE, input_names=input_names, output_names=[OUTPUT])
        config = api.ConvertToTFLConfig()
        config.model_origin_framework = "JAX"
        api.run_convert_to_tfl_passes(module, passmanager.PassManager(), config)
        try:
            content = api.export_flatbuffer_to_bytes(module.operation)
        except ValueError as error:  # without a reason where an operation is none of LiteRT's
            raise ValueError(f"{error}{_foreign(module, ir)}") from None
        with open(model, "wb") as file:
            file.write(content)


def store_weights(model: str, stored: str, dtype: str) -> None:
    """Writes a .tflite model again with the weights of its matrix products as float16 or int8."""
    quantizer, qtyping, algorithms = (
        import_module(f"ai_edge_quantizer.{name}") for name in ("quantizer", "qtyping", "algorithm_manager")
    )
    operations, changed = qtyping.TFLOperationName, quantizer.Quantizer(model)
    if dtype == "float16":
        casting = algorithms.AlgorithmName.FLOAT_CASTING
        changed.add_weight_only_config(".*", operations.ALL_SUPPORTED, 16, algorithm_key=casting)
    else:
        # XNNPACK has no depthwise convolution of int8 weights and float activations: it would be left out, at ten times
        # its cost, and cut the graph. Its weights are few.
        for operation in (operations.CONV_2D, operations.FULLY_CONNECTED):
            changed.add_dynamic_config(".*", operation, 8)
    changed.quantize(serialize_to_path=stored, enable_progress_bar=False, enable_progress_report=False)


_REQUESTS = {"convert": convert, "store_weights": store_weights}


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answers requests until the other side closes the stream."""
    for line in requests:
        refusal = number = None
        try:
            request = json.loads(line)
            _REQUESTS[request["function"]](**request["arguments"])
        except Exception as error:  # the converter raises its own, undocumented kinds
            refusal = str(error) or type(error).__name__
            number = error.errno if isinstance(error, OSError) else None
        replies.write(json.dumps({"refusal": refusal, "errno": number}) + "\n")
        replies.flush()


def _foreign(module: Any, ir: Any) -> str:
    """The first operation that is of no dialect that can be written, as the converter's own errors are put."""
    found: list[str] = []

    def look(operation: Any) -> Any:
        if operation.name.split(".")[0] in _DIALECTS:
            return ir.WalkResult.ADVANCE
        found.append(f"error: {operation.location}: '{operation.name}' op is none of LiteRT's")
        return ir.WalkResult.INTERRUPT

    module.operation.walk(look)
    return "".join(found)


if __name__ == "__main__":
    # Native code prints to descriptor 1; replies get a descriptor of their own.
    reply_stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, reply_stream)
