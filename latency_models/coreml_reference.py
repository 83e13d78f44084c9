"""What a saved .mlpackage computes, in NumPy: Core ML itself runs on Apple's systems only.

Read from the package's own files. An operation's meaning is coremltools' own where it says it (by which it folds constants);
for the others it is written here, after the definitions in coremltools' reference of MIL operations.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_WEIGHTS = Path("Data", "com.apple.CoreML", "weights")


def interpret(path: Path, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """The only output of a package for inputs in the order of its function.

    Raises:
      ValueError: It has an operation that is not known here.
    """
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load

    specification: Any = ct.utils.load_spec(str(path))
    program = load(specification, specification.specificationVersion, str(path / _WEIGHTS))
    function = program.functions["main"]
    values: dict[Any, Any] = dict(zip(function.inputs.values(), inputs, strict=True))

    def value(variable: Any) -> Any:
        if isinstance(variable, list | tuple):
            return [value(each) for each in variable]
        found = values.get(variable, variable.val)
        return (
            bool(found) if isinstance(found, np.bool_) else found
        )  # flags are Python's own, as coremltools' builder takes them

    for operation in function.operations:
        if operation.op_type == "const":
            continue
        arguments = {name: value(given) for name, given in operation.inputs.items() if given is not None}
        values[operation.outputs[0]] = _evaluate(operation, arguments)
    return np.asarray(value(function.outputs[0]))


def _evaluate(operation: Any, arguments: dict[str, Any]) -> np.ndarray:
    if operation.op_type in _WRITTEN_HERE:
        return _WRITTEN_HERE[operation.op_type](**arguments)
    if hasattr(operation, "materialized_val_inference"):  # a weight that is stored in fewer bits
        return operation.materialized_val_inference()
    from coremltools.converters.mil.mil import Builder, Function

    with Function({}, opset_version=operation.opset_version):
        found = getattr(Builder, operation.op_type)(**arguments).val
    if found is None:
        raise ValueError(f"{operation.op_type} of Core ML has no meaning here, so that the package cannot be compared")
    return found


def _convolve(x: np.ndarray, weight: np.ndarray, **more: Any) -> np.ndarray:
    """NCHW and OIHW; no dilation."""
    assert (more["pad_type"], list(more["dilations"])) == ("custom", [1, 1]), more
    (top, bottom, left, right), (down, across) = more["pad"], more["strides"]
    outputs, depth, *size = weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, tuple(size), (2, 3))[:, :, ::down, ::across]
    grouped = windows.reshape(len(x), more["groups"], depth, *windows.shape[2:])
    kernels = weight.reshape(more["groups"], outputs // more["groups"], depth, *size)
    made = np.einsum("bgdhwij,godij->bgohw", grouped, kernels, optimize=True).reshape(len(x), outputs, *windows.shape[2:4])
    return (made + more.get("bias", np.zeros(1, x.dtype)).reshape(-1, 1, 1)).astype(x.dtype)


def _attend(query: np.ndarray, key: np.ndarray, value: np.ndarray, attn_mask: np.ndarray | None = None) -> np.ndarray:
    """A mask of truth values says which keys are seen; one of numbers is added to the scores."""
    scores = np.einsum("...qd,...kd->...qk", query, key) * query.dtype.type(query.shape[-1] ** -0.5)
    if attn_mask is not None:
        scores = np.where(attn_mask, scores, -np.inf) if attn_mask.dtype == bool else scores + attn_mask
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("...qk,...kd->...qd", weights / weights.sum(-1, keepdims=True), value)


_WRITTEN_HERE: dict[str, Callable[..., np.ndarray]] = {
    "conv": _convolve,
    "scaled_dot_product_attention": _attend,
    "identity": lambda x: x,
}
