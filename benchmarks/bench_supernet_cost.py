"""What one compiled supernet saves against a fresh compilation per architecture, and what it costs to run: the shipped space
at batch 64, in processor time. The stand-alone network gets the faster of both lowerings and the same compiler options.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from record import show, write_result

from search_space import Architecture, get_scale, get_space
from supernet import MATMUL, XLA, Lowering, Supernet, extract
from supernet.training import COMPILER_OPTIONS

BATCH = 64
SPACE, SCALE = get_space("digits"), get_scale("digits-proxy")
SUPERNET = Supernet(SPACE, SCALE, MATMUL)


def draw_inputs() -> tuple[Any, tuple[jax.Array, ...]]:
    """Parameters that are all different from zero, and (images, times, contexts)."""
    rng = np.random.default_rng(0)
    parameters = jax.tree.map(
        lambda x: x + 0.05 * rng.standard_normal(x.shape).astype(np.float32), SUPERNET.initial_parameters(0)
    )
    image = rng.standard_normal((BATCH, SCALE.resolution, SCALE.resolution, SCALE.in_channels))
    context = rng.standard_normal((BATCH, SCALE.context_length, SCALE.context_width))
    return parameters, tuple(jnp.asarray(x, jnp.float32) for x in (image, np.linspace(0, 1000, BATCH), context))


def gradient_of(apply: Callable[..., jax.Array]) -> Callable[..., Any]:
    """Value and gradient of the mean square of what `apply` gives, by its first argument."""
    return jax.value_and_grad(lambda *operands: (apply(*operands) ** 2).mean())


def stand_alone(parameters: Any, architecture: Architecture, lowering: Lowering) -> tuple[Callable[..., jax.Array], Any]:
    """The extracted network as a function of (its parameters, images, times, contexts), and its parameters."""
    graph, state = nnx.split(extract(SUPERNET, parameters, architecture, lowering=lowering))
    return lambda state, *inputs: nnx.merge(graph, state)(*inputs), state


def build(function: Callable[..., Any], *operands: Any) -> tuple[Callable[[], Any], float]:
    """The compiled function, bound to its operands, and the processor seconds of tracing and compiling it."""
    start = time.process_time()
    program = jax.jit(function).lower(*operands).compile(compiler_options=COMPILER_OPTIONS)
    return (lambda: jax.block_until_ready(program(*operands))), time.process_time() - start


def seconds(run: Callable[[], Any]) -> float:
    """Processor seconds of one run."""
    start = time.process_time()
    run()
    return time.process_time() - start


def interval(statistic: Callable[..., float], *samples: np.ndarray) -> tuple[float, float]:
    """95 % bootstrap interval of a statistic of samples, each resampled by the same places where they are paired."""
    rng = np.random.default_rng(0)
    picks = (rng.integers(len(samples[0]), size=len(samples[0])) for _ in range(2000))
    low, high = np.quantile([statistic(*(s[p] for s in samples)) for p in picks], [0.025, 0.975])
    return float(low), float(high)


def number(unit: str, statistic: Callable[..., float], *samples: Any, **more: Any) -> dict[str, Any]:
    """A result: the statistic of the samples with its interval."""
    arrays = [np.asarray(sample) for sample in samples]
    low, high = interval(statistic, *arrays)
    return {"value": float(statistic(*arrays)), "unit": unit, "n": len(arrays[0]), "low": low, "high": high, **more}


def median_ratio(a: np.ndarray, b: np.ndarray) -> float:
    """Ratio of two medians."""
    return float(np.median(a) / np.median(b))


def compile_once(parameters: Any, inputs: tuple[jax.Array, ...], num: int) -> dict[str, Any]:
    """Many architectures through one program against a fresh program each; how far their predictions are apart."""
    traces = 0

    def apply(*operands: Any) -> jax.Array:
        nonlocal traces
        traces += 1
        return SUPERNET.apply(*operands)

    rng = np.random.default_rng(1)
    architectures = [SPACE.sample(rng) for _ in range(num)]
    start = time.process_time()
    program = jax.jit(apply, compiler_options=COMPILER_OPTIONS)
    routes = [jnp.asarray(SUPERNET.route(architecture)) for architecture in architectures]
    predictions = [program(parameters, *inputs, routes[0]).block_until_ready()]
    compile_s = time.process_time() - start
    runs = [seconds(lambda g=g: predictions.append(program(parameters, *inputs, g).block_until_ready())) for g in routes]
    fresh: dict[str, list[float]] = {"matmul": [], "xla": []}
    errors = []
    lowerings = [MATMUL, XLA]
    for i, architecture in enumerate(architectures):
        if i == 5:  # from here on the baseline has the lowering that was cheaper so far
            lowerings = [min(lowerings, key=lambda lowering: sum(fresh[lowering.name]))]
        for lowering in lowerings:
            function, state = stand_alone(parameters, architecture, lowering)
            run, compiling = build(function, state, *inputs)
            fresh[lowering.name].append(compiling + seconds(run))
        alone = run()
        errors.append(float(jnp.linalg.norm(predictions[i + 1] - alone) / jnp.linalg.norm(alone)))
    best = np.asarray(fresh[lowerings[0].name])
    return {
        "supernet_compile": {"value": compile_s, "unit": "CPU s", "n": 1, "low": None, "high": None, "traces": traces},
        "supernet_run": number("CPU s per architecture", np.mean, runs),
        "fresh_compile_and_run": number("CPU s per architecture", np.mean, best, lowering=lowerings[0].name),
        "first_100_ratio": number("times", lambda f, r: 100 * f.mean() / (compile_s + 100 * r.mean()), best, runs),
        "later_ratio": number("times", lambda f, r: f.mean() / r.mean(), best, runs),
        "largest_relative_error": {"value": max(errors), "unit": "1", "n": num, "low": None, "high": None},
    }


def running_cost(parameters: Any, inputs: tuple[jax.Array, ...], rounds: int) -> dict[str, Any]:
    """Run times of the smallest and largest architecture, in the supernet and alone, interleaved."""
    ends = {"smallest": SPACE.smallest(), "largest": SPACE.largest()}
    runs: dict[tuple[str, ...], Callable[[], Any]] = {}
    numbers: dict[str, Any] = {}
    for kind, of in (("forward", lambda apply: apply), ("gradient", gradient_of)):
        start = time.process_time()
        shared = jax.jit(of(SUPERNET.apply), compiler_options=COMPILER_OPTIONS)
        for end, architecture in ends.items():
            route = jnp.asarray(SUPERNET.route(architecture))
            runs[kind, end, "supernet"] = lambda f=shared, g=route: jax.block_until_ready(f(parameters, *inputs, g))
        runs[kind, "smallest", "supernet"]()
        value = time.process_time() - start
        numbers[f"{kind}_compile"] = {"value": value, "unit": "CPU s", "n": 1, "low": None, "high": None}
        for end, architecture in ends.items():
            for lowering in (MATMUL, XLA):
                function, state = stand_alone(parameters, architecture, lowering)
                runs[kind, end, lowering.name], _ = build(of(function), state, *inputs)
    times: dict[tuple[str, ...], list[float]] = {key: [] for key in runs}
    for run in runs.values():
        run()
    for _ in range(rounds):
        for key, run in runs.items():
            times[key].append(1000 * seconds(run))
    for kind in ("forward", "gradient"):
        for end in ends:
            alone = min(("matmul", "xla"), key=lambda name: np.median(times[kind, end, name]))
            numbers[f"{kind}_{end}_supernet"] = number("CPU ms", np.median, times[kind, end, "supernet"])
            numbers[f"{kind}_{end}_alone"] = number("CPU ms", np.median, times[kind, end, alone], lowering=alone)
            pair = times[kind, end, "supernet"], times[kind, end, alone]
            numbers[f"{kind}_{end}_ratio"] = number("times", median_ratio, *pair)
        pair = times[kind, "largest", "supernet"], times[kind, "smallest", "supernet"]
        numbers[f"{kind}_largest_to_smallest"] = number("times", median_ratio, *pair)
    return numbers


def main() -> None:
    """Measures and writes `results/supernet_cost.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architectures", type=int, default=100, help="how many are compiled afresh")
    parser.add_argument("--rounds", type=int, default=21, help="interleaved runs of each program")
    options = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    parameters, inputs = draw_inputs()
    numbers = compile_once(parameters, inputs, options.architectures)
    numbers |= running_cost(parameters, inputs, options.rounds)
    path = write_result(
        "supernet_cost",
        shows="One compiled supernet serves every architecture at a fraction of the cost of compiling each, and runs a subnet "
        "at about the cost that it has alone.",
        command=f".venv/bin/python benchmarks/bench_supernet_cost.py --architectures {options.architectures}",
        numbers=numbers,
    )
    show(path, numbers)


if __name__ == "__main__":
    main()
