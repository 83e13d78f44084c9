"""Holds a predictor to the designs of a front, measured again."""

import dataclasses
from pathlib import Path

import numpy as np
from scipy.stats import binom

from experiments.amounts import text_table
from experiments.errors import InputError
from experiments.front import spread
from experiments.latency_measuring import measure_into, usable_device
from experiments.progress import Progress
from experiments.run_folder import Run, read_run
from latency_models.measurements import differences
from latency_models.network import Network, network_of
from latency_models.predictor import Predictor
from objectives.fingerprint import fingerprint
from search_space import get_scale, layer_plan

_IMPROBABLE = 0.01


@dataclasses.dataclass(frozen=True)
class Validation:
    """Predicted and measured latencies of some designs.

    Attributes:
        device: where they were measured.
        digests: of the architectures.
        predicted_ms: what the predictor says.
        low_ms: lower ends of its intervals.
        high_ms: upper ends.
        measured_ms: what was measured.
        coverage: the share of them that the intervals are to hold.
        differing: in what the device differs from the predictor's, in words.
    """

    device: str
    digests: tuple[str, ...]
    predicted_ms: tuple[float, ...]
    low_ms: tuple[float, ...]
    high_ms: tuple[float, ...]
    measured_ms: tuple[float, ...]
    coverage: float
    differing: tuple[str, ...] = ()

    @property
    def num_inside(self) -> int:
        """How many measured latencies lie in their intervals."""
        return sum(low <= ms <= high for low, ms, high in zip(self.low_ms, self.measured_ms, self.high_ms, strict=True))

    @property
    def holds(self) -> bool:
        """Whether so few inside are not improbable (less than 1 %), were the coverage what is claimed."""
        return bool(binom.cdf(self.num_inside, len(self.digests), self.coverage) >= _IMPROBABLE)

    def __str__(self) -> str:
        rows = [("architecture", "predicted ms", "interval", "measured ms", "error", "")]
        for digest, predicted, low, high, measured in zip(
            self.digests, self.predicted_ms, self.low_ms, self.high_ms, self.measured_ms, strict=True
        ):
            mark = "" if low <= measured <= high else "outside"
            numbers = (f"{predicted:.4g}", f"{low:.4g} to {high:.4g}", f"{measured:.4g}", f"{predicted / measured - 1:+.1%}")
            rows.append((digest, *numbers, mark))
        errors = np.abs(np.array(self.predicted_ms) / np.array(self.measured_ms) - 1)
        remedy = "it does not hold on this front: measure more like it, and fit anew"
        verdict = "the predictor holds" if self.holds else remedy
        other = (
            f"\nthe predictor was fitted on another device or version: {'; '.join(self.differing)}" if self.differing else ""
        )
        return (
            f"{text_table(rows)}\n{self.num_inside} of {len(self.digests)} inside their {self.coverage:.0%} intervals on "
            f"{self.device}, mean error {errors.mean():.1%}: {verdict}{other}"
        )


def validate(
    predictor_path: Path, run_path: Path, *, top: int, device_spec: str | None, rounds: int, progress: Progress
) -> Validation:
    """Measures designs of a run's front on the predictor's device, or on another one.

    Measurements are kept in the predictor's folder, by run and device: the same command goes on, and a fit can use them.

    Raises:
        InputError: the run has no front or no deploy scale, or the device is not there or not the predictor's.
        ValueError: the predictor is damaged or knows another scale, or the device refuses a network.
    """
    predictor, run = Predictor.load(predictor_path), read_run(run_path)
    networks = _front_networks(run, top)
    own = predictor.fingerprint["device"]
    try:
        device = usable_device(device_spec or own)
    except InputError as error:
        if device_spec is not None:
            raise
        raise InputError(
            f"{predictor_path}: the predictor is of {own!r}, which cannot measure here ({error}); give --device"
        ) from None
    ms, low, high = predictor.predict(networks)
    about = device.fingerprint()
    folder = predictor_path / f"validation-{run_path.resolve().name}-{fingerprint(**about)}"
    measured = measure_into(folder, device, networks, rounds=rounds, profiled=False, progress=progress)
    return Validation(
        device=device.name,
        digests=tuple(network.key for network in networks),
        predicted_ms=tuple(map(float, ms)),
        low_ms=tuple(map(float, low)),
        high_ms=tuple(map(float, high)),
        measured_ms=tuple(measured.measurements[network.key].timing.ms for network in networks),
        coverage=predictor.coverage,
        differing=tuple(differences(predictor.fingerprint, about)),
    )


def _front_networks(run: Run, top: int) -> list[Network]:
    """Designs of the front, spread evenly from the fastest to the slowest."""
    if not run.front:
        raise InputError(f"{run.path}: there is no front to validate on; `pocketunet sweep` makes one")
    name = run.settings.get("deploy_scale")
    if not isinstance(name, str):
        raise InputError(f"{run.path / 'sweep.yaml'}: key 'deploy_scale' is missing, so latencies have no scale")
    return [network_of(layer_plan(member.architecture, get_scale(name))) for member in spread(run.front, top)]
