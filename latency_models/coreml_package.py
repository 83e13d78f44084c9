"""From a network to Core ML's .mlpackage, without Apple's hardware: StableHLO to MIL by stablehlo-coreml, then coremltools.

It can be written on Linux and run on a Mac or an iPhone only; `coreml_reference` interprets what was written.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latency_models.jax_reference import trace, use_cpu
from latency_models.network import Build, Network

OUTPUT = "output"
_LEAST_QUANTIZED = 64  # elements of a constant; smaller ones are few


def start_coreml() -> None:
    """JAX computes on the CPU, and nothing is printed: coremltools tells of libraries that only a Mac has, and of each pass."""
    use_cpu()
    silence = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(silence, descriptor)


def write_coreml(network: Network, build: Build, path: Path, dtype: str) -> None:
    """Writes a function as an .mlpackage for iOS 18 and macOS 15 on.

    Args:
      network: What is computed.
      build: Makes its function and inputs; the inputs' names are those of the function's arguments.
      path: The new package, a folder.
      dtype: float32; float16, in which the device then computes as well; or int8 weights in one factor for each output
        channel, computed with in float32.

    Raises:
      ValueError: The converter refuses an operation.
    """
    import coremltools as ct
    import coremltools.optimize.coreml as optimize
    import jax
    from stablehlo_coreml import build_pass_pipeline, convert

    jax.config.update("jax_traceback_in_locations_limit", 0)
    function, inputs = build(network)
    module: Any = trace(function, inputs).lower().compiler_ir("stablehlo")
    target = ct.target.iOS18
    precision = ct.precision.FLOAT16 if dtype == "float16" else ct.precision.FLOAT32
    with module.context:
        program = convert(module, minimum_deployment_target=target)
    (made,) = program.functions[program.default_function_name].outputs
    made.name = OUTPUT
    model: Any = ct.convert(
        program, source="milinternal", minimum_deployment_target=target, pass_pipeline=build_pass_pipeline(),
        compute_precision=precision, skip_model_load=True,
    )  # fmt: skip
    if dtype == "int8":
        each = optimize.OpLinearQuantizerConfig(
            mode="linear_symmetric", granularity="per_channel", weight_threshold=_LEAST_QUANTIZED
        )
        model = optimize.linear_quantize_weights(model, optimize.OptimizationConfig(global_config=each))
    model.save(str(path))


def run_coreml(network: Network, path: Path, calls: Sequence[Sequence[Any]]) -> list[Any]:
    """The outputs of a package, as `coreml_reference` computes them."""
    from latency_models.coreml_reference import interpret

    del network
    return [interpret(path, call) for call in calls]
