"""Peak memory of a run on a device: so much for each byte of weights and of activations, for each kernel, and a rest.

A runtime holds the weights more than once (as stored, and packed for its kernels; those of convolutions in other layouts
than others) and plans one arena for all activations, which the liveness of the layer plan foretells once two habits are
known: whether a convolution is unrolled into a matrix first, and whether a softmax writes over its scores, beside them,
or holds one more matrix. Each kernel has code or a plan of its own. All of it is the device's, and learned from measured
peaks.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

from latency_models.kernels import block_kernels
from latency_models.measurements import Measurement
from latency_models.scores import conformal_margin
from search_space import Architecture, BlockPlan, LayerPlan, Operation, Scale, layer_plan
from search_space.counting import peak_bytes, sum_over_blocks
from search_space.operations import float_bytes

_LEAST_NETWORKS = 8
_FOLDS = 8
Habit = tuple[bool, int]  # `unrolls` and `softmax_matrices` of `PeakMemory`
_KERNEL_BYTES, _REST_BYTES = 1e4, 1e6  # units of what is not counted in bytes, so that all columns are of similar size


@dataclasses.dataclass(frozen=True)
class PeakMemory:
    """Predicts the peak memory of whole networks.

    Attributes:
      per_convolution_byte: Bytes for each byte of float32 weights of convolutions, but for depthwise and 1x1 ones.
      per_weight_byte: Bytes for each byte of other float32 weights.
      per_activation_byte: Bytes for each byte of the peak of activations.
      unrolls: Whether a convolution's image is unrolled into a matrix.
      softmax_matrices: Matrices that a softmax takes beside its scores and its output; -1 where they are one.
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
    unrolls: bool
    softmax_matrices: int
    per_kernel_bytes: float
    rest_bytes: float
    log_margin: float
    mape: float
    within_5: float
    n: int

    def predict(self, architectures: Sequence[Architecture], scale: Scale) -> Float[np.ndarray, " architectures"]:
        """Bytes of memory at most, beyond the runtime's own, of loading and running each network at batch 1."""
        scratch = functools.partial(_scratch, unrolls=self.unrolls, softmax_matrices=self.softmax_matrices)
        convolutions, weights, kernels = sum_over_blocks(architectures, scale, _counts).T
        return (
            self.per_convolution_byte * convolutions
            + self.per_weight_byte * weights
            + self.per_activation_byte * peak_bytes(architectures, scale, scratch)
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
    plans, peaks_seen = [], []
    for measurement in measured:
        network, peak = measurement.network, measurement.loaded.peak_bytes
        if network.architecture and peak:
            plans.append(layer_plan(network.architecture, network.scale))
            peaks_seen.append(peak)
    if len(plans) < _LEAST_NETWORKS:
        return None
    peaks = np.array(peaks_seen, float)
    counted = np.array([_counts(plan.blocks).sum(0) for plan in plans]) * (1, 1, _KERNEL_BYTES)
    rest = np.full(len(plans), _REST_BYTES)
    habits = [(unrolls, matrices) for unrolls in (False, True) for matrices in (0, -1, 1)]
    columns = {habit: np.column_stack([counted, rest, _activations(plans, *habit)]) for habit in habits}
    unrolls, matrices = _best(columns, peaks)
    predicted = _cross_validate(columns, peaks)
    errors = np.abs(predicted / peaks - 1)
    convolutions, weights, per_kernel, rest_bytes, activations = _fit(columns[unrolls, matrices], peaks)
    return PeakMemory(
        per_convolution_byte=float(convolutions),
        per_weight_byte=float(weights),
        per_activation_byte=float(activations),
        unrolls=unrolls,
        softmax_matrices=matrices,
        per_kernel_bytes=float(per_kernel) * _KERNEL_BYTES,
        rest_bytes=float(rest_bytes) * _REST_BYTES,
        log_margin=conformal_margin(predicted, peaks, coverage=coverage),
        mape=float(errors.mean()),
        within_5=float((errors <= 0.05).mean()),
        n=len(plans),
    )


def _counts(blocks: Sequence[BlockPlan]) -> Float[np.ndarray, "blocks 3"]:
    """Of each block: bytes of convolutions' weights, bytes of other weights, and the number of kernels."""
    rows = []
    for block in blocks:
        kernels = block_kernels(block)
        convolutions = sum(kernel.weight_bytes for kernel in kernels if kernel.kind == "convolution")
        rows.append((convolutions, sum(kernel.weight_bytes for kernel in kernels) - convolutions, len(kernels)))
    return np.array(rows, float)


def _scratch(operation: Operation, *, unrolls: bool, softmax_matrices: int) -> int:
    """Bytes of an operation beside its inputs and its output."""
    if operation.kind == "softmax":
        return softmax_matrices * operation.output_bytes
    if unrolls and operation.kind == "conv3x3":
        return float_bytes((*operation.out_shape[:-1], 9 * operation.in_shape[-1]))
    return 0


def _activations(plans: Sequence[LayerPlan], unrolls: bool, softmax_matrices: int) -> Float[np.ndarray, " plans"]:
    """Most bytes alive at once, as `peak_bytes` counts them."""
    found = []
    for plan in plans:
        scratch = [_scratch(x, unrolls=unrolls, softmax_matrices=softmax_matrices) for x in plan.operations]
        found.append(max(alive + besides for alive, besides in zip(plan.live_bytes, scratch, strict=True)))
    return np.array(found, float)


def _best(columns: Mapping[Habit, Float[np.ndarray, "n 5"]], peaks: Float[np.ndarray, " n"]) -> Habit:
    """The habit whose fits predict best what they have not seen."""

    def error(habit: Habit) -> float:
        return float(np.abs(_cross_validate({habit: columns[habit]}, peaks) / peaks - 1).mean())

    return min(columns, key=error) if len(columns) > 1 else next(iter(columns))


def _cross_validate(
    columns: Mapping[Habit, Float[np.ndarray, "n 5"]], peaks: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Predictions of each by a fit without its fold, which chooses the habit, too."""
    folds = np.arange(len(peaks)) % min(_FOLDS, len(peaks))
    predicted = np.empty(len(peaks))
    for fold in range(folds.max() + 1):
        rest = folds != fold
        habit = _best({habit: seen[rest] for habit, seen in columns.items()}, peaks[rest])
        predicted[~rest] = columns[habit][~rest] @ _fit(columns[habit][rest], peaks[rest])
    return predicted


def _fit(columns: Float[np.ndarray, "n 5"], peaks: Float[np.ndarray, " n"]) -> Float[np.ndarray, " 5"]:
    """Least squares of relative errors, none negative."""
    return nnls(columns / peaks[:, None], np.ones(len(peaks)))[0]
