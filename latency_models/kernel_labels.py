"""What a profile says about our kernels: a time for each, where the runtime's kernels of a class are ours one to one.

A profile may name the block of each kernel before a slash, as XLA's does; then each block is taken for itself. And it may
name a product's multiply-accumulates behind a space: then products are known by them, whatever their order.
"""

import functools
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from latency_models.device import KernelTime
from latency_models.kernels import Kernel, KernelKind, block_kernels
from latency_models.network import Network

Labels = tuple[list[tuple[Kernel, float]], list[tuple[tuple[Kernel, ...], float]]]
# Patterns of the beginnings of the runtime's names, and the kinds of ours that they are. A runtime's other kernels are ours of
# the other kinds, all of them together.
_CLASSES: tuple[tuple[str, tuple[KernelKind, ...]], ...] = (
    # XNNPACK
    (r"Convolution \(NHWC.*\) IGEMM", ("convolution",)),
    (r"Convolution \(NHWC.*\) DWConv", ("depthwise_convolution",)),
    ("Fully Connected", ("fully_connected",)),
    ("Batch Matrix Multiply", ("attention_scores", "attention_values")),
    ("Softmax", ("softmax",)),
    (r"Transpose \(ND", ("transpose",)),
    (r"Copy \(NC", ("copy",)),
    # LiteRT's own kernels
    ("CONV_2D", ("convolution",)),
    ("DEPTHWISE_CONV_2D", ("depthwise_convolution",)),
    ("FULLY_CONNECTED", ("fully_connected",)),
    ("BATCH_MATMUL", ("attention_scores", "attention_values")),
    ("SOFTMAX", ("softmax",)),
    ("TRANSPOSE", ("transpose",)),
    # ONNX Runtime and XLA
    ("Conv|convolution", ("convolution", "depthwise_convolution")),
    ("Relu", ("clamp",)),
    ("Einsum|Gemm|dot", ("fully_connected", "attention_scores", "attention_values")),
)
_MACS = re.compile(r" (\d+)$")
_ROUNDS_THE_NEXT = "Convert (NC, F32, Q"  # XNNPACK rounds a convolution's input to int8 in a kernel of its own, right before it


def label_kernels(network: Network, profile: Sequence[KernelTime]) -> Labels:
    """Milliseconds of single kernels, and of groups of kernels that only their sum is known of.

    A class is taken apart where the runtime ran as many kernels of it as we have, in order; else it is one group. What the
    runtime calls by no name of a class is the group of all kernels of the other kinds. A named block with a softmax is one
    group: XLA computes the scores within it.
    """
    block_names = {block.name for block in network.blocks}
    by_block: Mapping[str, list[KernelTime]] = defaultdict(list)
    for kernel in profile:
        block_name, _, name = kernel.name.partition("/")
        if block_name in block_names:
            by_block[block_name].append(KernelTime(name, kernel.ms))
    if not by_block:
        return _label(network.kernels, profile)
    singles, groups = [], []
    for block in network.blocks:
        if block.name not in by_block:
            continue
        kernels, theirs = block_kernels(block), by_block[block.name]
        is_whole = any(kernel.kind == "softmax" for kernel in kernels)
        labels = ([], [_group(kernels, theirs)]) if is_whole else _label(kernels, theirs)
        singles += labels[0]
        groups += labels[1]
    return singles, groups


def _label(kernels: Sequence[Kernel], profile: Sequence[KernelTime]) -> Labels:
    times: Mapping[tuple[KernelKind, ...], list[KernelTime]] = defaultdict(list)
    before_ms = 0.0
    for kernel in profile:
        if kernel.name.startswith(_ROUNDS_THE_NEXT):
            before_ms = kernel.ms
            continue
        kinds = _kinds_of(kernel.name)
        times[kinds].append(KernelTime(kernel.name, before_ms + kernel.ms))
        before_ms = 0.0
    classed = {kind for kinds in times for kind in kinds}
    singles, groups = [], []
    for kinds, theirs in times.items():
        ours = [kernel for kernel in kernels if (kernel.kind in kinds if kinds else kernel.kind not in classed)]
        if kinds and (pairs := _pairs(ours, theirs)):
            singles += pairs
        elif ours:
            groups.append(_group(ours, theirs))
    return singles, groups


@functools.cache
def _kinds_of(name: str) -> tuple[KernelKind, ...]:
    return next((kinds for pattern, kinds in _CLASSES if re.match(pattern, name)), ())


def _group(ours: Sequence[Kernel], theirs: Sequence[KernelTime]) -> tuple[tuple[Kernel, ...], float]:
    return tuple(ours), float(np.sum([kernel.ms for kernel in theirs]))


def _pairs(ours: Sequence[Kernel], theirs: Sequence[KernelTime]) -> list[tuple[Kernel, float]] | None:
    """One to one, in order or by MACs where all are known; None where they do not agree."""
    named = [_MACS.search(kernel.name) for kernel in theirs]
    if all(named):
        macs = [int(match[1]) for match in named if match]
        theirs = [theirs[i] for i in np.argsort(macs, kind="stable")]
        ours = sorted(ours, key=lambda kernel: kernel.macs)
        if sorted(macs) != [kernel.macs for kernel in ours]:
            return None
    return [(kernel, time.ms) for kernel, time in zip(ours, theirs, strict=True)] if len(ours) == len(theirs) else None
