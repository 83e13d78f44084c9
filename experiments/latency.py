"""Latency of a sweep's architectures: measures a few on the device at the deploy scale, and predicts all others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.config import SweepConfig
from experiments.config_sections import ImageSection
from experiments.errors import InputError, refusal_message
from experiments.latency_measuring import measure_into
from experiments.measured_network import build_network
from experiments.progress import Progress
from latency_models.choice import choose_architectures
from latency_models.device import Device, default_device, get_device
from latency_models.fitting import fit
from latency_models.measure import measure
from latency_models.measurements import first_difference
from latency_models.network import network_of
from latency_models.predictor import RECORD_FILE, Predictor
from latency_models.timing import TimingProtocol
from objectives import Estimate
from objectives.cost import cost_estimates, counted_costs
from objectives.objective import OBJECTIVES
from search_space import Architecture, Scale, get_scale, get_space, layer_plan

Ends = tuple[np.ndarray, np.ndarray, np.ndarray]  # values, and both ends of their intervals
PREDICTED = ("latency_ms", "image_ms", "peak_memory_bytes")


def fit_predictor(config: SweepConfig, run_dir: Path, progress: Progress) -> Predictor:
    """Measures and fits, or loads what the run folder holds or `latency.predictor` names; measurements survive a kill.

    Raises:
        InputError: the device is not known or not usable here, it tells no memory, which objectives or limits ask for, or as
            `known_predictor`.
    """
    folder = run_dir / "latency"
    if (predictor := known_predictor(config, run_dir)) is not None:
        check_memory(config, predictor, what="the run folder's predictor")
        if not (folder / RECORD_FILE).is_file():
            predictor.save(folder)
        return predictor
    device = _device(config)
    scale = get_scale(config.deploy_scale)
    rng = np.random.default_rng(config.seed)
    chosen = choose_architectures(get_space(config.space), scale, config.latency.num_architectures, rng)
    networks = [network_of(layer_plan(x, scale)) for x in chosen]
    found = measure_into(folder, device, networks, rounds=config.latency.rounds, profiled=True, progress=progress)
    predictor = fit(found)
    predictor.save(folder)
    check_memory(config, predictor, what=f"latency.device: {device.name}")
    return predictor


def known_predictor(config: SweepConfig, run_dir: Path) -> Predictor | None:
    """That of the run folder, else the one that `latency.predictor` names; None where one is to be fitted.

    Raises:
        InputError: as `given_predictor`.
        ValueError: as `run_predictor`.
        FileNotFoundError: as `run_predictor`.
    """
    own = run_predictor(run_dir)
    return given_predictor(config) if own is None and config.latency.predictor is not None else own


def run_predictor(run_dir: Path) -> Predictor | None:
    """That of a run folder; None where there is none yet.

    Raises:
        ValueError: it is damaged.
        FileNotFoundError: a file of it is missing.
    """
    folder = run_dir / "latency"
    return Predictor.load(folder) if (folder / RECORD_FILE).is_file() else None


def given_predictor(config: SweepConfig) -> Predictor:
    """The one that `latency.predictor` names.

    Raises:
        InputError: it is not there, damaged or of another scale, or tells no memory, which objectives or limits ask for.
    """
    given = config.latency.predictor
    assert given is not None
    try:
        predictor = Predictor.load(Path(given))
        predictor.check_scale(get_scale(config.deploy_scale))
    except (ValueError, OSError) as error:
        raise InputError(f"latency.predictor: {refusal_message(error)}") from None
    check_memory(config, predictor, what=f"latency.predictor: {given}")
    return predictor


def check_memory(config: SweepConfig, predictor: Predictor, *, what: str) -> None:
    """Raises InputError where objectives or limits ask for a memory that is not predicted."""
    if predictor.memory is None and "peak_memory_bytes" in (*config.objectives, *config.limits):
        raise InputError(f"{what} tells no peak_memory_bytes; leave it out of objectives and limits")


def check_measuring(config: SweepConfig, run_dir: Path) -> None:
    """Refuses what `fit_predictor` would refuse, before anything is trained.

    Raises:
        InputError: the device is not known or not usable here, the space has fewer architectures than are to be timed, or as
            `known_predictor`.
    """
    if (run_dir / "latency" / RECORD_FILE).is_file() or known_predictor(config, run_dir) is not None:
        return
    if reason := _device(config).absence():
        raise InputError(f"latency.device {config.latency.device!r} cannot be used: {reason}")
    size, num = get_space(config.space).size, config.latency.num_architectures
    if num > size:
        raise InputError(f"latency.num_architectures is {num}, and space {config.space!r} has {size}; lower it")


def measure_latency(config: SweepConfig, run_dir: Path, architecture: Architecture) -> tuple[Estimate, dict[str, str]]:
    """One architecture's latency in milliseconds, measured on the sweep's device at its deploy scale; what it was measured on.

    Raises:
        InputError: the device is not known or not usable here, or `latency.predictor` is of another one.
    """
    device = _device(config)
    here = device.fingerprint()
    if config.latency.predictor is not None:
        of = Predictor.load(run_dir / "latency").fingerprint
        if differs := first_difference(of, here):
            raise InputError(
                f"the sweep predicted latencies of {of['device']}, and what is here differs ({differs}); measure it there with "
                "`pocketunet latency measure`"
            )
    network = network_of(layer_plan(architecture, get_scale(config.deploy_scale)))
    protocol = TimingProtocol(rounds=config.latency.rounds)
    timing = measure(device, [network], build_network, protocol=protocol, profiled=False).measurements[network.key].timing
    return Estimate(timing.ms, timing.low, timing.high, timing.n), here


def _device(config: SweepConfig) -> Device:
    if config.latency.device == "auto":
        return default_device()
    try:
        return get_device(config.latency.device)
    except ValueError as error:
        raise InputError(f"latency.device: {error}") from None


def held_out_text(predictor: Predictor) -> str:
    """The predictor's held-out error in one line."""
    held_out, score = predictor.held_out, predictor.held_out.score
    what = f"published figures, {predictor.fingerprint['device']}," if predictor.is_anchored else "networks"
    return (
        f"latency predictor, {score.n} held-out {what} of {held_out.smallest_ms:.1f} to {held_out.largest_ms:.1f} ms: "
        f"mean error {score.mape:.1%}, {score.within_10:.0%} within 10 %, rank correlation {score.spearman:.3f}"
    )


def _objectives_among(estimates: dict[str, Estimate]) -> dict[str, Estimate]:
    """Those of the counts that are objectives; the rest are parts of their sums."""
    return {x.name: estimates[x.name] for x in OBJECTIVES if x.name in estimates}


def run_costs(run_dir: Path, scale: Scale, image: ImageSection | None = None) -> "Costs":
    """Costs as a run tells them; a run whose predictor is not there has those that can be counted.

    Raises:
        ValueError: as `run_predictor`.
        FileNotFoundError: as `run_predictor`.
    """
    return Costs(scale, run_predictor(run_dir), image)


class Costs:
    """Costs of architectures at the deploy scale: counted, or predicted with an interval; a pure function of both."""

    def __init__(self, scale: Scale, predictor: Predictor | None, image: ImageSection | None = None) -> None:
        self._scale = scale
        self._predictor = predictor
        self._image = image

    @property
    def has_predictor(self) -> bool:
        """Whether any are predicted; all are counted otherwise."""
        return self._predictor is not None

    def __call__(self, architecture: Architecture) -> dict[str, Estimate]:
        """Estimates by objective name, one architecture."""
        estimates = _objectives_among(cost_estimates(layer_plan(architecture, self._scale)))
        predicted = self._predicted([architecture]).items()
        return estimates | {name: _estimate(values, n) for name, (values, n) in predicted}

    def columns(self, architectures: Sequence[Architecture]) -> dict[str, np.ndarray]:
        """Values by objective name, many architectures."""
        predicted = self._predicted(architectures).items()
        return counted_costs(architectures, self._scale) | {name: values[0] for name, (values, _) in predicted}

    def _predicted(self, architectures: Sequence[Architecture]) -> dict[str, tuple[Ends, int]]:
        """By objective name: values with both ends of their intervals, and how many networks the interval rests on."""
        if self._predictor is None:
            return {}
        n, memory = self._predictor.held_out.score.n, self._predictor.memory
        latency = self._predictor.predict_architectures(architectures, self._scale)
        found: dict[str, tuple[Ends, int]] = {"latency_ms": (latency, n)}
        if image := self._image:
            calls, beside = image.num_steps * image.guidance_factor, image.encoder_ms + image.decoder_ms
            ms, low, high = (beside + calls * ends for ends in latency)
            found["image_ms"] = ((ms, low, high), n)
        if memory:
            found["peak_memory_bytes"] = (memory.interval(memory.predict(architectures, self._scale)), memory.n)
        return found


def _estimate(values: Ends, n: int) -> Estimate:
    value, low, high = (float(ends[0]) for ends in values)
    return Estimate(value, low, high, n)
