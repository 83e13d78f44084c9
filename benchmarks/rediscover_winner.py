"""The winner of `rediscover.py` beside published designs: timed at full width; trained, distilled and exported alike."""

import dataclasses
import functools
import json
import shutil
from pathlib import Path
from typing import Any

from bundles import Bundles, Judge, measured
from rediscover_found import COMPARED, TIMED, TRAINED, Found, measured_elsewhere

from experiments.bundle import read_bundle, read_expected
from experiments.errors import InputError
from experiments.evaluation import Evaluation
from experiments.exports.export import export_bundle
from experiments.handoff import hand_off
from experiments.json_files import read_json
from experiments.latency_measuring import measure_into, usable_device
from experiments.progress import Progress
from experiments.whole_files import write_whole
from latency_models.calibration import calibrate, choose_for_calibration
from latency_models.device import Device, machine_fingerprint
from latency_models.network import Network
from latency_models.predictor import Predictor
from objectives.fingerprint import fingerprint
from search_space import Architecture

TEACHER = COMPARED[0]
NUM_CARRIED = 10  # networks, and blocks, that carry the latency predictor to another machine


@dataclasses.dataclass(frozen=True)
class Contest:
    """What happens to the winner and to published designs.

    Attributes:
        found: by the searches.
        updates: of the training of each, of its training beside the teacher, of each halving of the steps, and of ADD; the
            teacher, which is one of them, trains alone for as many as the first two.
        progress: where to report.
    """

    found: Found
    updates: tuple[int, int, int, int]
    progress: Progress

    @functools.cached_property
    def picks(self) -> dict[str, tuple[Path, Evaluation]]:
        """The designs in the order in which they are made, by name, each with the run that judged it; none without a winner."""
        if not (winners := self.found.winners):
            self.progress.say("no design of the fronts is as good as Stable Diffusion 1.5: there is no winner")
            return {}
        teacher, *others = ((name, (self.found.folder / "published", self.found.published[name])) for name in COMPARED)
        return dict([teacher, *winners.items(), *others])

    def known(self, file: str) -> dict[str, dict[str, Any]]:
        """What a file knows of the designs, by name; that of an earlier winner is left out."""
        rows = read_json(self.found.folder / file) or {}
        digests = {name: Architecture.from_json(row["design"]).digest for name, row in rows.items()}
        return {name: rows[name] for name, (_, picked) in self.picks.items() if digests.get(name) == picked.digest}

    def missing(self, file: str) -> list[str]:
        """Names of the designs of which a file knows nothing."""
        known = self.known(file)
        return [name for name in self.picks if name not in known]

    def time(self) -> None:
        """Measures the latency of each at full width, all on this machine, which has to be quiet.

        Raises:
            InputError: the device is not here.
        """
        rows = dict[str, dict[str, Any]]()
        costs_here = self.found.costs_on(self.predictor_here())
        for name, (_, picked) in self.picks.items():
            handed = self.handed_off(name, f"handed-off-{fingerprint(**self.device.fingerprint())}", is_timed=True)
            if (latency := read_expected(handed)["in_sweep"]["measured_latency_ms"]) is None:
                raise InputError(f"{handed}: its latency was not measured; make sure that the device is here, and delete it")
            rows[name] = {
                "design": picked.architecture.to_json(),
                "measured_latency_ms": latency,
                "predicted_latency_ms": costs_here(picked.architecture)["latency_ms"].to_json(),
                "cpu": machine_fingerprint()["cpu"],
            }
        write_whole(self.found.folder / TIMED, json.dumps(rows))

    def train(self) -> None:
        """Trains each of which nothing is known, teaches it, brings it to 8 steps and to one, judges all three, and exports."""
        rows = self.known(TRAINED)
        alone, beside, halving, adversarial = self.updates
        teacher = self.trained(TEACHER, alone + beside)
        judge = Judge.of(self.bundles, read_bundle(teacher).task, features=self.found.folder / "base" / "features")
        for name in self.missing(TRAINED):
            taught, distilled = teacher, functools.partial(self.distilled, name)
            if name != TEACHER:
                taught = distilled("taught", self.trained(name, alone), "knowledge", updates=beside, teacher=teacher)
            eight = distilled("8", taught, "progressive", steps=8, from_steps=32, updates=halving)
            one = distilled("1", eight, "progressive", steps=1, from_steps=8, updates=halving)
            added = distilled("add", one, "adversarial", teacher=taught, updates=adversarial)
            quality = {
                f"{steps}_steps": measured(self.bundles, judge, path.name, steps)
                for path, steps in ((taught, 32), (eight, 8), (added, 1))
            }
            exported = self.bundles.made(
                self.named(name, "litert"), lambda out, of=added: export_bundle(of, to="litert", out=out)
            )
            num_bytes = sum(path.stat().st_size for path in exported.glob("*.tflite"))
            design = self.picks[name][1].architecture.to_json()
            judged_by = judge.distances["classifier"].extractor.digest
            rows[name] = {"design": design, "quality": quality, "exported_bytes": num_bytes, "judged_by": judged_by}
            write_whole(self.found.folder / TRAINED, json.dumps(rows))

    @functools.cached_property
    def bundles(self) -> Bundles:
        """Where bundles are made."""
        folder = self.found.folder / "bundles"
        folder.mkdir(exist_ok=True)
        return Bundles(self.found.config, folder, self.progress)

    def named(self, name: str, step: str) -> str:
        """The bundle of a design at a step."""
        return f"{name}-{self.picks[name][1].digest}-{step}"

    def handed_off(self, name: str, step: str, *, is_timed: bool) -> Path:
        """The bundle of a design as it comes from its run."""
        run, picked = self.picks[name]
        make = functools.partial(hand_off, self.with_supernet(run), picked.digest, is_timed=is_timed, say=self.progress.say)
        return self.bundles.made(self.named(name, step), make)

    def trained(self, name: str, steps: int) -> Path:
        """The bundle of a design, trained from there on the data alone."""
        handed = self.handed_off(name, "handed-off", is_timed=False)
        return self.bundles.trained(self.named(name, "trained"), handed, steps=steps, seed=0)

    def distilled(self, name: str, step: str, source: Path, method: str, **settings: Any) -> Path:
        """The bundle of a design after a method."""
        return self.bundles.distilled(self.named(name, step), source, method, **settings)

    def with_supernet(self, run: Path) -> Path:
        """A run that has its supernet, which is not kept with it."""
        if not (run / "supernet").is_dir():
            partial = run / "supernet.partial"
            shutil.copytree(self.found.folder / "base" / "supernet", partial, dirs_exist_ok=True)
            partial.rename(run / "supernet")
        return run

    @functools.cached_property
    def device(self) -> Device:
        """On which latencies are measured here, and depend on."""
        return usable_device(self.found.config.latency.device)

    def predictor_here(self) -> Predictor:
        """Of latencies on this machine: where that is another than the one that was measured, carried to it."""
        known, device, rounds = self.found.predictor, self.device, self.found.config.latency.rounds
        if known.fingerprint == device.fingerprint():
            return known
        networks, chosen = [x.network for x in measured_elsewhere().measurements.values()], list[Network]()
        for is_block in (False, True):
            pool = [network for network in networks if (network.architecture is None) == is_block]
            chosen += choose_for_calibration([known], pool, NUM_CARRIED)
        into = self.found.folder / f"here-{fingerprint(**device.fingerprint())}"
        return calibrate([known], measure_into(into, device, chosen, rounds=rounds, profiled=True, progress=self.progress))
