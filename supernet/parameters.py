"""The parameters of a module by path, out of it and into it."""

from collections.abc import Mapping
from typing import Any, TypeVar

from flax import nnx, traverse_util

Module = TypeVar("Module", bound=nnx.Module)


def parameters_of(module: nnx.Module) -> dict[str, Any]:
    """A module's parameters by path, "blocks/down0_0_residual/conv1/kernel"."""
    flat = traverse_util.flatten_dict(nnx.to_pure_dict(nnx.state(module, nnx.Param)))
    return {"/".join(map(str, path)): array for path, array in flat.items()}


def with_parameters(module: Module, parameters: dict[str, Any]) -> Module:
    """The module with these parameters, by path; all of its own, in their shapes."""
    graph, _ = nnx.split(module)
    nested = traverse_util.unflatten_dict({_keys(path): array for path, array in parameters.items()})
    return nnx.merge(graph, nnx.State(nested))


def block_path(name: str) -> str:
    """Where the parameters of a block of this name begin in a UNet, "blocks/down0_0_residual/"."""
    return f"blocks/{name.replace('.', '_')}/"


def of_block(parameters: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The parameters of one block of a UNet, by path inside the block."""
    prefix = block_path(name)
    return {path.removeprefix(prefix): array for path, array in parameters.items() if path.startswith(prefix)}


def _keys(path: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdigit() else part for part in path.split("/"))
