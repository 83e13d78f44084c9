"""The operations of a .tflite file, and the block of the network that each comes from.

JAX writes the scope of an operation into its location ("jit(f)/down0.0.residual/dot_general"), and the converter makes
names of tensors of them. An operation of a function that JAX compiles on its own, as it does SiLU, has no scope there; it
is in the block of the operation before it.
"""

import dataclasses
import mmap
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

# The names of blocks have a dot; other scopes (of loops, of an einsum) have none between names.
_BLOCK = re.compile(r"jit\([^\"/]*\)/(\w+(?:\.\w+)+)/")
_NODE, _CODE = re.compile(r"[Nn]ode number (\d+)"), re.compile(r"builtin opcode '(\w+)'")


@dataclasses.dataclass(frozen=True)
class GraphOperation:
    """One operation in the order of execution.

    Attributes:
      kind: LiteRT's name of it, CONV_2D.
      block: The network's name of the block; None where the function names none.
      inputs: Numbers of the tensors that it reads, weights included.
      outputs: Numbers of the tensors that it writes.
    """

    kind: str
    block: str | None
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def __str__(self) -> str:
        """What and where."""
        return f"{self.kind} in block {self.block}" if self.block else self.kind


def block_of(text: str) -> str | None:
    """The block that a location, or a tensor's name, lies in."""
    found = _BLOCK.search(text)
    return found[1] if found else None


def read_operations(path: Path) -> tuple[GraphOperation, ...]:
    """All operations of a .tflite file; its weights are not read."""
    from ai_edge_litert import schema_py_generated as schema

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        model: Any = schema.Model.GetRootAs(data, 0)
        kinds = [_kind(model.OperatorCodes(i), schema.BuiltinOperator) for i in range(model.OperatorCodesLength())]
        graph = model.Subgraphs(0)
        found: list[GraphOperation] = []
        for i in range(graph.OperatorsLength()):
            node = graph.Operators(i)
            outputs = tuple(node.Outputs(j) for j in range(node.OutputsLength()))
            names = ";".join((graph.Tensors(tensor).Name() or b"").decode() for tensor in outputs)
            block = block_of(names) or (found[-1].block if found else None)
            inputs = tuple(node.Inputs(j) for j in range(node.InputsLength()))
            found.append(GraphOperation(kinds[node.OpcodeIndex()], block, inputs, outputs))
    return tuple(found)


def blamed(path: Path, reason: str) -> GraphOperation | None:
    """The operation that LiteRT speaks of where it refuses a file, by its number or by its kind."""
    operations = read_operations(path)
    if (node := _NODE.search(reason)) and int(node[1]) < len(operations):
        return operations[int(node[1])]
    code = _CODE.search(reason)
    return next((x for x in operations if code and x.kind == code[1]), None)


def left_out(
    operations: Sequence[GraphOperation], delegates: Iterable[tuple[Iterable[int], Iterable[int]]]
) -> tuple[GraphOperation, ...]:
    """The operations that no delegate took.

    Args:
      operations: All.
      delegates: The tensors that each piece of a delegate reads and writes. What it took lies between them: every
        operation of a piece leads to one of its outputs.
    """
    writers = {tensor: i for i, operation in enumerate(operations) for tensor in operation.outputs}
    taken: set[int] = set()
    for inputs, outputs in delegates:
        borders, pending = set(inputs), list(outputs)
        while pending:
            tensor = pending.pop()
            writer = None if tensor in borders else writers.get(tensor)
            if writer is not None and writer not in taken:
                taken.add(writer)
                pending += operations[writer].inputs
    return tuple(operation for i, operation in enumerate(operations) if i not in taken)


def listed(operations: Iterable[GraphOperation]) -> tuple[str, ...]:
    """Each kind in each block once, with how often it is there."""
    counts = Counter(map(str, operations))
    return tuple(text if count == 1 else f"{text} ({count} times)" for text, count in counts.items())


def _kind(code: Any, names: Any) -> str:
    if code.CustomCode():
        return code.CustomCode().decode()
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    return next(name for name, value in vars(names).items() if value == number)
