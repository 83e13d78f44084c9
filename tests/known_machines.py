"""Machines whose latencies are known exactly, and measurements on them."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from latency_models.device import KernelTime, Loaded
from latency_models.kernels import Kernel
from latency_models.measurements import Measurement, MeasurementSet
from latency_models.network import Network, network_of
from latency_models.timing import Timing
from search_space import get_scale, get_space, layer_plan

Machine = Callable[[Kernel], float]
# How XNNPACK calls the kinds that a profile tells apart.
XNNPACK_NAMES = {
    "convolution": "Convolution (NHWC, F32) IGEMM",
    "depthwise_convolution": "Convolution (NHWC, F32) DWConv",
    "fully_connected": "Fully Connected (NC, F32) GEMM",
    "attention_scores": "Batch Matrix Multiply (NC, F32) GEMM",
    "attention_values": "Batch Matrix Multiply (NC, F32) GEMM",
    "softmax": "Softmax (NC, F32)",
    "transpose": "Transpose (ND, X32) Transpose",
    "copy": "Copy (NC, X32)",
}


def tiled_machine(kernel: Kernel) -> float:
    """Columns are worked on in tiles of 32, and many bytes are slower than few: milliseconds."""
    if kernel.macs:
        padded = kernel.macs * 32 * math.ceil(kernel.columns / 32) / kernel.columns
        return 0.001 + 2e-8 * padded + 1e-8 * kernel.bytes
    return 0.001 + (2e-8 if kernel.bytes > 1e5 else 1e-8) * kernel.bytes


def other_machine(kernel: Kernel) -> float:
    """Attention is dear here, and the rest cheap."""
    factor = 3.0 if kernel.kind in ("attention_scores", "attention_values", "softmax", "clamp") else 0.8
    return factor * tiled_machine(kernel)


def random_networks(n: int, *, seed: int = 0, space: str = "digits") -> list[Network]:
    """Random networks at the digits' deploy scale."""
    searched, scale, rng = get_space(space), get_scale("digits-deploy"), np.random.default_rng(seed)
    found: dict[str, Network] = {}
    while len(found) < n:
        network = network_of(layer_plan(searched.sample(rng), scale))
        found[network.key] = network
    return list(found.values())


def true_ms(network: Network, machine: Machine) -> float:
    """What a network takes there."""
    return sum(machine(kernel) for kernel in network.kernels)


def exact_timing(ms: float) -> Timing:
    """A measurement without noise."""
    return Timing(float(ms), float(ms), float(ms), 10, "thread_cpu", "p25", 0.0)


def measured_on(
    machine: Machine, networks: Sequence[Network], *, noise: float = 0.0, profiled: bool = False, seed: int = 0
) -> MeasurementSet:
    """Measurements of networks, with relative noise, and profiles as XNNPACK would give them."""
    rng = np.random.default_rng(seed)
    measurements, profiles = {}, {}
    for network in networks:
        ms = true_ms(network, machine) * float(np.exp(noise * rng.standard_normal()))
        weights, kernels = network.weight_bytes, network.kernels
        peak = 2 * weights + max(kernel.bytes for kernel in kernels)
        measurements[network.key] = Measurement(network, (exact_timing(ms),), Loaded(weights, 1, 5.0, ms, peak))
        if profiled:
            profiles[network.key] = tuple(KernelTime(XNNPACK_NAMES.get(k.kind, "Add (ND)"), machine(k)) for k in kernels)
    return MeasurementSet({"device": "known machine"}, measurements, profiles)
