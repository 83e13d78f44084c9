"""How long each piece of an XLA program takes on the CPU, by a trace, and which block it is a piece of, by the program's text.

XLA runs a program as a sequence of thunks, each one instruction of its entry computation: a product, or a fusion. An
instruction keeps the scope that it was traced in, which names the block.
"""

import re
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latency_models.device import KernelTime, typical_times

_PRODUCTS = ("convolution", "dot")
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.-]+) = (?:\(.*?\)|\S+) ([\w-]+)\((.*)")
_CALLED = re.compile(r"calls=%?([\w.-]+)")
_SCOPE = re.compile(r'op_name="jit\([^/]*/([\w.]+)/')
_OPERAND = re.compile(r"%([\w.-]+)")


def thunk_names(text: str) -> dict[str, str]:
    r"""What a profile calls each instruction of a program: its block, and the product in it, or its opcode where there is none.

    An instruction without a scope, which a pass of the compiler made, is in the block of the first that reads it.

    Args:
      text: The program after compilation, in HLO's text format.

    >>> thunk_names('ENTRY %main (x: f32[2]) -> f32[2] {\n  %y = f32[2] add(%x, %x), metadata={op_name="jit(f)/mid.0/add"}')
    {'y': 'mid.0/add'}
    """
    opcodes: dict[str, set[str]] = defaultdict(set)
    lines: list[tuple[str, str, str]] = []
    computation = ""
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            computation = header[1]
        elif instruction := _INSTRUCTION.match(line):
            opcodes[computation].add(instruction[2])
            lines.append((instruction[1], instruction[2], instruction[3]))
    blocks: dict[str, str] = {}
    for name, _, rest in reversed(lines):  # readers come after what they read, so the first of them has the last word
        if scope := _SCOPE.search(rest):
            blocks[name] = scope[1]
        if name in blocks:
            blocks |= dict.fromkeys(_OPERAND.findall(rest.partition(")")[0]), blocks[name])
    found = {}
    for name, opcode, rest in lines:
        called = _CALLED.search(rest)
        inside = opcodes[called[1]] if called else {opcode}
        if name in blocks:
            found[name] = f"{blocks[name]}/{next((product for product in _PRODUCTS if product in inside), opcode)}"
    return found


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
