"""Peak memory of a run on a device: so much for each byte of weights and of activations, for each kernel, and a rest.

A runtime holds the weights more than once (as stored, and packed for its kernels; those of convolutions in other layouts
than others) and plans one arena for all activations, which the liveness of the layer plan foretells; one that takes softmax
apart holds one more of an attention's matrices; each kernel has code or a plan of its own. How often, how tightly and how
much is the device's, and learned from measured peaks.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

from latency_models.kernels import block_kernels
from latency_models.measurements import Measurement
from latency_models.network import Network
from latency_models.scores import conformal_margin
from search_space import Architecture, BlockPlan, Scale, layer_plan
from search_space.counting import count_architectures, max_over_blocks, sum_over_blocks

_LEAST_NETWORKS = 8
_FOLDS = 8
_KERNEL_BYTES, _REST_BYTES = 1e4, 1e6  # units of what is not counted in bytes, so that all columns are of similar size


@dataclasses.dataclass(frozen=True)
class PeakMemory:
    """Predicts the peak memory of whole networks.

    Attributes:
      per_convolution_byte: Bytes for each byte of float32 weights of convolutions, but for depthwise and 1x1 ones.
      per_weight_byte: Bytes for each byte of other float32 weights.
      per_activation_byte: Bytes for each byte of the peak of activations.
      per_softmax_byte: Bytes for each byte of the largest softmax.
      per_kernel_bytes: Bytes for each kernel.
      rest_bytes: Bytes whatever the network.
      log_margin: Half width of the interval, as a logarithm.
      mape: Mean relative error on networks held out.
      within_5: Share of them within 5 %.
      n: Their number.
    """

    per_convolution_byte: float
    per_weight_byte: float
    per_activation_byte: float
    per_softmax_byte: float
    per_kernel_bytes: float
    rest_bytes: float
    log_margin: float
    mape: float
    within_5: float
    n: int

    def predict(self, architectures: Sequence[Architecture], scale: Scale) -> Float[np.ndarray, " architectures"]:
        """Bytes of memory at most, beyond the runtime's own, of loading and running each network at batch 1."""
        activations = count_architectures(architectures, scale).peak_activation_bytes
        convolutions, weights, kernels = sum_over_blocks(architectures, scale, _counts).T
        return (
            self.per_convolution_byte * convolutions
            + self.per_weight_byte * weights
            + self.per_activation_byte * activations
            + self.per_softmax_byte * max_over_blocks(architectures, scale, _largest_softmax)[:, 0]
            + self.per_kernel_bytes * kernels
            + self.rest_bytes
        )

    def interval(
        self, peak_bytes: Float[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Predictions with both ends of their intervals."""
        return peak_bytes, peak_bytes * np.exp(-self.log_margin), peak_bytes * np.exp(self.log_margin)


def fit_peak_memory(measured: Sequence[Measurement], *, coverage: float) -> PeakMemory | None:
    """Learns from the whole networks among the measurements; None where fewer than 8 of them have a measured peak."""
    known = [(m.network, m.loaded.peak_bytes) for m in measured if m.network.architecture and m.loaded.peak_bytes]
    if len(known) < _LEAST_NETWORKS:
        return None
    columns, peaks = _columns([network for network, _ in known]), np.array([peak for _, peak in known], float)
    folds = np.arange(len(known)) % min(_FOLDS, len(known))
    predicted = np.empty(len(known))
    for fold in range(folds.max() + 1):
        rest = folds != fold
        predicted[~rest] = columns[~rest] @ _fit(columns[rest], peaks[rest])
    errors = np.abs(predicted / peaks - 1)
    convolutions, weights, activations, softmax, per_kernel, rest_bytes = _fit(columns, peaks)
    return PeakMemory(
        per_convolution_byte=float(convolutions),
        per_weight_byte=float(weights),
        per_activation_byte=float(activations),
        per_softmax_byte=float(softmax),
        per_kernel_bytes=float(per_kernel) * _KERNEL_BYTES,
        rest_bytes=float(rest_bytes) * _REST_BYTES,
        log_margin=conformal_margin(predicted, peaks, coverage=coverage),
        mape=float(errors.mean()),
        within_5=float((errors <= 0.05).mean()),
        n=len(known),
    )


def _counts(blocks: Sequence[BlockPlan]) -> Float[np.ndarray, "blocks 3"]:
    """Of each block: bytes of convolutions' weights, bytes of other weights, and the number of kernels."""
    rows = []
    for block in blocks:
        kernels = block_kernels(block)
        convolutions = sum(kernel.weight_bytes for kernel in kernels if kernel.kind == "convolution")
        rows.append((convolutions, sum(kernel.weight_bytes for kernel in kernels) - convolutions, len(kernels)))
    return np.array(rows, float)


def _largest_softmax(blocks: Sequence[BlockPlan]) -> Float[np.ndarray, "blocks 1"]:
    """Bytes of each block's largest."""
    sizes = [[kernel.bytes / 2 for kernel in block_kernels(block) if kernel.kind == "softmax"] for block in blocks]
    return np.array([[max(ours, default=0.0)] for ours in sizes])


def _columns(networks: Sequence[Network]) -> Float[np.ndarray, "networks 6"]:
    rows = []
    for network in networks:
        assert network.architecture is not None
        activations = layer_plan(network.architecture, network.scale).peak_activation_bytes
        convolutions, weights, kernels = _counts(network.blocks).sum(0)
        softmax = _largest_softmax(network.blocks).max()
        rows.append((convolutions, weights, activations, softmax, _KERNEL_BYTES * kernels, _REST_BYTES))
    return np.array(rows, float)


def _fit(columns: Float[np.ndarray, "n 6"], peaks: Float[np.ndarray, " n"]) -> Float[np.ndarray, " 6"]:
    """Least squares of relative errors, none negative."""
    return nnls(columns / peaks[:, None], np.ones(len(peaks)))[0]
