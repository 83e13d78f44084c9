"""What a sweep is: the keys of `sweep.yaml` with their types, ranges and defaults; reading and writing it."""

import importlib.resources
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from experiments.config_fields import Count, Duration, Name, Positive, Section, Seed
from experiments.config_reading import read_document, read_text, validated, with_overrides
from experiments.config_sections import (
    LEAST_SAMPLES,
    AnchorsSection,
    DistillSection,
    FeaturesSection,
    LatencySection,
    QualitySection,
    RungSection,
    SearchSection,
    StartSection,
    SupernetSection,
)
from experiments.errors import InputError
from experiments.limit_sentences import limits_of
from experiments.limits import check_limits
from experiments.records import Rung
from experiments.trackers.registry import known_tracker
from objectives import get_objective
from objectives.fingerprint import fingerprint
from objectives.objective import PREDICTED
from search_space import get_scale, get_space
from search_space.narrowing import narrowed_name


def _objective_name(name: str) -> str:
    return get_objective(name).name


def _space_name(name: str) -> str:
    return get_space(name).name


def _space_text(value: Any) -> Any:
    """A mapping with a base and the values that remain of its genes, as the name of the narrowed space."""
    if not isinstance(value, dict) or not isinstance(value.get("base"), str):
        return value
    return narrowed_name(value["base"], {str(key): kept for key, kept in value.items() if key != "base"})


def _scale_name(name: str) -> str:
    return get_scale(name).name


def _limit_name(name: str) -> str:
    check_limits({name: 1.0})
    return name


_DEFAULT_TRIALS = 200
ObjectiveName = Annotated[str, AfterValidator(_objective_name)]


class SweepConfig(Section):
    """A whole sweep.

    Attributes:
        name: of the run; a word for people.
        space: name of the search space; or a mapping with its name under `base`, and the values that remain of a gene, one or a
            list, under the gene's name, in which `*` stands for any letters.
        proxy_scale: name of the scale at which quality is judged.
        deploy_scale: name of the scale at which costs are judged.
        data: name of a data set, or a folder.
        seed: everything random follows from it.
        trials: architectures to evaluate in all, earlier runs of the same folder included; infeasible ones are not counted.
        budget: time that the evaluations may take, such as `2h`, earlier runs included; side by side, two workers spend it
            once. With `trials` too, what is reached first ends the search; without either, 200 trials do.
        objectives: what to improve; two or more make a front.
        anchors: what is trained alone before the search; only where `predicted_frechet` is asked for.
        rungs: dearer ways to judge the best, after the search, the cheapest first; the front is that of the last.
        start_from: designs to begin with, and an earlier run whose outcomes are known.
        limits: upper bound by cost, such as `latency_ms: 40`, or a list of sentences, such as `params <= 60% of sd15`; what
            breaks one is infeasible.
        trackers: `mlflow`, `wandb` or both: where losses, outcomes and the front are logged beside the run's own files.
        run_dir: folder of the run, by default `runs/NAME`; relative ones start where the command runs.
    """

    name: Name
    space: Annotated[str, BeforeValidator(_space_text), AfterValidator(_space_name)]
    proxy_scale: Annotated[str, AfterValidator(_scale_name)]
    deploy_scale: Annotated[str, AfterValidator(_scale_name)]
    data: Name
    trials: Count | None = None
    budget: Duration | None = None
    objectives: tuple[ObjectiveName, ...]
    seed: Seed = 0
    supernet: SupernetSection = SupernetSection()
    features: FeaturesSection = FeaturesSection()
    latency: LatencySection = LatencySection()
    search: SearchSection = SearchSection()
    quality: QualitySection = QualitySection()
    anchors: AnchorsSection | None = None
    rungs: tuple[RungSection, ...] = ()
    distill: DistillSection = DistillSection()
    start_from: StartSection = StartSection()
    limits: dict[Annotated[str, AfterValidator(_limit_name)], Positive] = Field(default_factory=dict)
    trackers: tuple[Annotated[str, AfterValidator(known_tracker)], ...] = ()
    run_dir: Name

    @model_validator(mode="before")
    @classmethod
    def _has_a_folder(cls, data: Any) -> Any:
        return {"run_dir": f"runs/{data.get('name')}", **data} if isinstance(data, dict) else data

    @model_validator(mode="before")
    @classmethod
    def _ends_somewhere(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("trials") is None and data.get("budget") is None:
            return {**data, "trials": _DEFAULT_TRIALS}
        return data

    @model_validator(mode="before")
    @classmethod
    def _anchors_where_they_are_needed(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("anchors") is not None:
            return data
        lists = [found if isinstance(found := data.get(key), list | tuple) else () for key in ("objectives", "rungs")]
        named = [*lists[0], *(rung.get("objective") for rung in lists[1] if isinstance(rung, dict))]
        return {**data, "anchors": {}} if PREDICTED in named else data

    @model_validator(mode="after")
    def _anchors_serve(self) -> "SweepConfig":
        if self.anchors is not None and PREDICTED not in (*self.objectives, *(rung.objective for rung in self.rungs)):
            raise ValueError(f"anchors serve {PREDICTED} alone, which nothing asks for; list it, or leave anchors out")
        return self

    @model_validator(mode="after")
    def _enough_samples_are_judged(self) -> "SweepConfig":
        judged = [name for name in self.objectives if name in ("frechet_classifier", "kid_classifier")]
        if judged and self.quality.num_samples < LEAST_SAMPLES:
            raise ValueError(
                f"quality.num_samples is {self.quality.num_samples}, and {judged[0]} needs {LEAST_SAMPLES} or more to have an "
                "interval; raise it"
            )
        return self

    @model_validator(mode="after")
    def _image_ms_is_described(self) -> "SweepConfig":
        if self.latency.image is None and "image_ms" in (*self.objectives, *self.limits):
            raise ValueError(
                "image_ms needs latency.image with num_steps, guidance_factor, encoder_ms and decoder_ms; give them, or use "
                "latency_ms"
            )
        return self

    @field_validator("limits", mode="before")
    @classmethod
    def _limits_in_plain_words(cls, limits: Any, info: Any) -> Any:
        if not isinstance(limits, list | str) or "deploy_scale" not in info.data:
            return limits
        sentences = [limits] if isinstance(limits, str) else map(str, limits)
        return limits_of(list(sentences), scale_name=info.data["deploy_scale"])

    @model_validator(mode="after")
    def _rungs_grow_dearer(self) -> "SweepConfig":
        if self.rungs and all(get_objective(name).is_cost for name in self.objectives):
            raise ValueError("rungs judge quality better, and no objective is a quality; add denoising_loss, or leave them out")
        draws = any(rung.objective in self.objectives for rung in self.rungs)  # the search itself judges samples
        steps = self.quality.fine_tune_steps or 0
        efforts = [(self.quality.num_samples, steps)] * draws
        efforts += [(rung.num_samples, rung.fine_tune_steps or steps) for rung in self.rungs]
        for less, more in itertools.pairwise(efforts):
            if more <= less:
                raise ValueError(
                    f"each rung must draw more samples than what is below it, or train on for longer, got {less[0]} and then "
                    f"{more[0]} samples; sort rungs, lower quality.num_samples, or leave one out"
                )
        return self

    @field_validator("objectives")
    @classmethod
    def _some_objectives_each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names:
            raise ValueError("name at least one objective, such as denoising_loss; two or more make a front")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"no objective may be listed twice, got {', '.join(twice)} twice")
        return names


def builtin_names() -> tuple[str, ...]:
    """Names of the sweeps that ship with the project."""
    return tuple(sorted(path.name.removesuffix(".yaml") for path in _builtin_folder().iterdir() if path.name.endswith(".yaml")))


def load_config(path_or_name: str | Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """A sweep from a YAML file, or by the name of one that ships, changed by `dotted.key=value` overrides.

    Raises:
        FileNotFoundError: there is neither such a file nor such a name.
        InputError: something in it is wrong; the message lists everything that is, with file, line and key.
    """
    name = str(path_or_name)
    if name in builtin_names():
        text, source = (_builtin_folder() / f"{name}.yaml").read_text(encoding="utf-8"), f"{name}.yaml"
    elif Path(name).is_file():
        text, source = read_text(Path(name)), name
    else:
        if Path(name).name == "sweep.yaml" and (Path(name).parent / "ledger.jsonl").is_file():
            raise FileNotFoundError(f"{name}: this file of a run folder is gone; put it back from a copy of the folder")
        if (Path(name) / "sweep.yaml").is_file():
            again = f"pocketunet sweep {name}/sweep.yaml --run-dir {name}"
            raise InputError(f"{name}: this is a run folder; go on with it by `{again}`")
        raise FileNotFoundError(
            f"{name}: there is no such file, and no such sweep ships; those that do are {', '.join(builtin_names())}"
        )
    return validated(with_overrides(read_document(text, source=source), overrides), SweepConfig)


def resolved_yaml(config: SweepConfig) -> str:
    """The sweep with every key written out; `load_config` reads it back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def evaluation_settings(config: SweepConfig) -> dict[str, Any]:
    """The part of a sweep that decides the numbers of an evaluation, whatever is searched and wherever it runs."""
    excluded = {
        "name", "run_dir", "trials", "budget", "start_from", "search", "distill", "limits", "objectives", "rungs", "trackers",
    }  # fmt: skip
    if PREDICTED not in config.objectives:
        excluded.add("anchors")  # a rung's alone
    return config.model_dump(mode="json", exclude=excluded, exclude_none=True)  # a key that came later changes no fingerprint


def changed_settings(before: SweepConfig, now: SweepConfig) -> dict[str, str]:
    """What decides the numbers of an evaluation and differs, in words by key."""
    old, new = evaluation_settings(before), evaluation_settings(now)
    keys = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
    return {key: f"{key}: {old.get(key)} there, {new.get(key)} now" for key in keys}


def ledger_header(config: SweepConfig) -> dict[str, Any]:
    """What every line of a run's ledger shares; a ledger that was begun with another is refused.

    `fingerprint` names the evaluation settings. The rest is what a replay of the searcher depends on.
    """
    return {
        "space": config.space,
        "fingerprint": fingerprint(**evaluation_settings(config)),
        "objectives": list(config.objectives),
        "limits": config.limits,
        "searcher": config.search.searcher,
        "population": config.search.population,
        "seed": search_seed(config),
        **({"batch": config.search.batch} if config.search.batch else {}),  # a key that came later changes no older header
    }


def search_seed(config: SweepConfig) -> int:
    """The seed of the searcher."""
    return config.seed if config.search.seed is None else config.search.seed


def judged_at(config: SweepConfig, rung: RungSection | None) -> SweepConfig:
    """The sweep as if one of its rungs, or on None its search, were all that judges."""
    if rung is None:
        return config.model_copy(update={"rungs": ()})
    costs = tuple(name for name in config.objectives if get_objective(name).is_cost)
    judged = with_samples(config, rung.num_samples)
    quality = judged.quality.model_copy(update={"fine_tune_steps": rung.fine_tune_steps or config.quality.fine_tune_steps})
    return judged.model_copy(update={"quality": quality, "rungs": (), "objectives": (rung.objective, *costs)})


def with_samples(config: SweepConfig, num_samples: int) -> SweepConfig:
    """The sweep with so many samples drawn of each architecture."""
    return config.model_copy(update={"quality": config.quality.model_copy(update={"num_samples": num_samples})})


def planned_rungs(config: SweepConfig) -> tuple[Rung, ...]:
    """The rungs of a sweep, as its ledger plans them."""
    return tuple(_planned(judged_at(config, section), section) for section in config.rungs)


def _planned(alone: SweepConfig, section: RungSection) -> Rung:
    name = fingerprint(**evaluation_settings(alone), rung=section.objective)
    return Rung(name, alone.objectives, section.share, section.num_samples)


def _builtin_folder() -> Any:
    return importlib.resources.files("experiments") / "configs"
