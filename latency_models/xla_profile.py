"""How long each piece of an XLA program takes on the CPU, by a trace, and which block it is a piece of, by the program's text.

XLA runs a program as a sequence of thunks, each one instruction of its entry computation: a product, or a fusion. An
instruction keeps the scope that it was traced in, which names the block.
"""

import math
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from latency_models.device import KernelTime, typical_times

_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.-]+) = (?:\(.*?\)|\w+\[([\d,]*)\]\S*) ([\w-]+)\((.*)")
_CALLED = re.compile(r"calls=%?([\w.-]+)")
_SCOPE = re.compile(r'op_name="jit\([^/]*/([\w.]+)/')
_OPERAND = re.compile(r"%([\w.-]+)")
_SUMMED = re.compile(r"lhs_contracting_dims=\{([\d,]+)\}")


def thunk_names(text: str) -> dict[str, str]:
    r"""What a profile calls each instruction of a program: its block, and the product in it, or its opcode where there is none.

    Behind a dense product are its multiply-accumulates: the order of those in a block is the compiler's.

    An instruction without a scope, which a pass of the compiler made, is in the block of the first that reads it.

    Args:
      text: The program after compilation, in HLO's text format.

    >>> thunk_names('ENTRY %main (x: f32[2]) -> f32[2] {\n  %y = f32[2] add(%x, %x), metadata={op_name="jit(f)/mid.0/add"}')
    {'y': 'mid.0/add'}
    """
    instructions: list[tuple[str, str, str]] = []
    shapes: dict[str, list[int]] = {}
    products: dict[str, str] = {}  # by instruction, and by computation: the first in it
    computation = ""
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            computation = header[1]
        elif instruction := _INSTRUCTION.match(line):
            name, shape, opcode, rest = instruction.groups(default="")
            instructions.append((name, opcode, rest))
            shapes[name] = [int(size) for size in shape.split(",") if size]
            if opcode in ("convolution", "dot"):
                products[name] = opcode if opcode == "convolution" else f"dot {_macs(shapes, name, rest)}"
                products.setdefault(computation, products[name])
    blocks: dict[str, str] = {}
    for name, _, rest in reversed(instructions):  # readers come after what they read: the first of them has the last word
        if scope := _SCOPE.search(rest):
            blocks[name] = scope[1]
        if name in blocks:
            blocks |= dict.fromkeys(_OPERAND.findall(rest.partition(")")[0]), blocks[name])
    called = {name: found[1] for name, _, rest in instructions if (found := _CALLED.search(rest))}
    return {
        name: f"{blocks[name]}/{products.get(called.get(name, name), opcode)}"
        for name, opcode, _ in instructions
        if name in blocks
    }


def _macs(shapes: Mapping[str, Sequence[int]], name: str, rest: str) -> int:
    """Of a dot: what it writes, times what it sums over."""
    left, summed = _OPERAND.search(rest), _SUMMED.search(rest)
    assert left is not None
    assert summed is not None
    return math.prod(shapes[name]) * math.prod(shapes[left[1]][int(axis)] for axis in summed[1].split(","))


def profile(text: str, run: Callable[[], None], count: int) -> tuple[KernelTime, ...]:
    """Milliseconds of each thunk of a program over so many runs, those that belong to no block by their own names."""
    import jax
    from jax.profiler import ProfileData, ProfileOptions

    options = ProfileOptions()
    options.python_tracer_level = 0
    with tempfile.TemporaryDirectory(prefix="pocketunet-xla-") as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            for _ in range(count):
                run()
        (path,) = Path(folder).rglob("*.xplane.pb")
        runs = _runs(ProfileData.from_file(str(path)))
    names = thunk_names(text)
    thunks = list(dict.fromkeys(thunk for times in runs for thunk in times))
    microseconds = [[times[thunk] for thunk in thunks] for times in runs]
    return typical_times([names.get(thunk, thunk) for thunk in thunks], microseconds)


def _runs(trace: Any) -> list[dict[str, float]]:
    """Microseconds of each thunk in each run."""
    runs: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    events = (event for plane in trace.planes for line in plane.lines for event in line.events)
    for event in events:
        stats = dict(event.stats)
        if "hlo_op" in stats:
            runs[stats["run_id"]][stats["hlo_op"]] += event.duration_ns / 1e3
    return list(runs.values())
