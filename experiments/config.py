"""What a sweep is: the keys of `sweep.yaml` with their types, ranges and defaults; reading and writing it."""

import importlib.resources
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from experiments.config_fields import Count, CountOrNone, Duration, Fraction, Name, NotNegative, Positive, Section, Seed
from experiments.config_reading import read_document, read_text, validated, with_overrides
from experiments.limit_sentences import limits_of
from experiments.limits import check_limits
from experiments.records import Rung
from experiments.searchers.registry import searcher_names
from latency_models.device import device_names
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


def _searcher_name(name: str) -> str:
    if name not in searcher_names():
        raise ValueError(f"there is no searcher {name!r}; known are {', '.join(searcher_names())}")
    return name


def _device_name(name: str) -> str:
    known = ("auto", *device_names())
    if name.partition(":")[0] not in known:
        raise ValueError(f"there is no device {name!r}; known are {', '.join(known)}")
    return name


def _limit_name(name: str) -> str:
    check_limits({name: 1.0})
    return name


_DEFAULT_TRIALS = 200
ObjectiveName = Annotated[str, AfterValidator(_objective_name)]


class SupernetSection(Section):
    """How the shared weights are trained.

    Attributes:
        mode: which subnets a step trains: strictly fair single paths, the sandwich (largest, smallest, random ones),
            which may distil the largest into the others in place, or ones whose blocks are dropped at random.
        largest_steps: steps at the beginning that train the largest subnet alone.
        recovery_steps: steps at the end that train sandwiches, whatever the mode.
        rate_by_complexity: how much less than others the learning rate of the largest subnets decays, and how much more that
            of the smallest: the decay is taken to the power of 1 minus, and 1 plus, this.
        stage_distillation: weight of the distance of each stage to that of the largest subnet of `start`.
        warmup_steps: steps in which the learning rate rises from 0.
        ema_decay: of the weights that are evaluated; 0 evaluates the last ones.
        start: folder of parameters to start from, made by `pocketunet supernet init`; without one they are drawn.
    """

    mode: Literal["single_path", "sandwich", "sandwich_distill", "stochastic_depth"] = "single_path"
    num_steps: Count = 2000
    largest_steps: CountOrNone = 100
    warmup_steps: CountOrNone = 100
    batch_size: Count = 64
    learning_rate: Positive = 1e-3
    ema_decay: Fraction = 0.999
    start: Name | None = None
    # Without these, None: a key that came later changes no fingerprint.
    recovery_steps: Count | None = None
    rate_by_complexity: Annotated[Positive, Field(le=1)] | None = None
    stage_distillation: Positive | None = None

    @model_validator(mode="after")
    def _has_a_teacher(self) -> "SupernetSection":
        if self.stage_distillation is not None and self.start is None:
            raise ValueError("stage_distillation needs the teacher that `start` was made from; give start, or leave it out")
        if self.stage_distillation is not None and self.mode == "sandwich_distill":
            raise ValueError("stage_distillation and sandwich_distill both name a teacher; use mode sandwich, or leave one out")
        return self

    @model_validator(mode="after")
    def _has_steps_for_all(self) -> "SupernetSection":
        if self.recovery_steps is not None and self.largest_steps + self.recovery_steps > self.num_steps:
            raise ValueError(
                f"largest_steps and recovery_steps must leave num_steps room, got {self.largest_steps} + {self.recovery_steps} "
                f"of {self.num_steps}; lower them"
            )
        return self


class FeaturesSection(Section):
    """The classifier in whose features samples are compared with images; `num_steps` of training."""

    num_steps: Count = 500


class ImageSection(Section):
    """What one image takes beside the network, for the objective `image_ms`.

    Attributes:
        num_steps: of the sampler.
        guidance_factor: network calls a step: 2 with guidance, 1 without it or where it is distilled.
        encoder_ms: of the prompt's encoder on the device, once an image.
        decoder_ms: of the decoder from latents to pixels.
    """

    num_steps: Count
    guidance_factor: Positive
    encoder_ms: NotNegative
    decoder_ms: NotNegative


class LatencySection(Section):
    """Where and how latency is measured to fit the predictor.

    Attributes:
        device: name of a device, options included (`litert-cpu:dtype=int8`; `pocketunet latency devices` lists them), or
            `auto`: litert-cpu where it is installed, else xla-cpu.
        num_architectures: that are timed to fit the predictor.
        rounds: repetitions of the timing of each.
        image: what an image takes beside the network; `image_ms` needs it.
    """

    device: Annotated[str, AfterValidator(_device_name)] = "auto"
    num_architectures: Annotated[int, Field(ge=8, strict=True)] = 40
    rounds: Count = 10
    image: ImageSection | None = None


class SearchSection(Section):
    """How the search proceeds.

    Attributes:
        searcher: name of a search.
        num_workers: evaluations at a time under ray; the local executor always has one.
        executor: `ray` (Ray Tune), or `local` (this process alone, without Ray).
        batch: architectures that are asked for at once, the next ones when all of them are evaluated: what is found depends
            neither on how many workers there are nor on which is faster then. Without it, no worker ever waits.
        population: architectures per generation, or before a model takes over.
        cpus_per_worker: cores that Ray sets aside for each worker; a fraction lets workers share one.
        gpus_per_worker: of an accelerator, under ray; a fraction lets workers share one.
        max_worker_gb: memory that a worker under ray may hold; one that has grown past it is replaced. Without it, any.
    """

    searcher: Annotated[str, AfterValidator(_searcher_name)] = "pocket"
    num_workers: Count = 2
    executor: Literal["ray", "local"] = "ray"
    batch: Count | None = None
    population: Annotated[int, Field(ge=2, strict=True)] = 24
    cpus_per_worker: Positive = 1.0
    gpus_per_worker: NotNegative = 0.0
    max_worker_gb: Positive | None = None


class StartSection(Section):
    """What the search starts from, beside what its own ledger holds.

    Attributes:
        designs: names of published designs, or `architecture.json` files, to evaluate before anything else.
        front: folder of an earlier run, of whatever settings, whose front is evaluated anew.
        ledger: folder of an earlier run of the same evaluation settings, whose outcomes are taken over and not counted.
    """

    designs: tuple[Name, ...] = ()
    front: Name | None = None
    ledger: Name | None = None


class QualitySection(Section):
    """How quality is measured; `guidance_scale` 1 is no guidance.

    Attributes:
        loss_samples: samples of the denoising loss at medium noise.
        num_samples: images that are drawn where samples are judged.
        fine_tune_steps: by which each architecture is trained on from the shared weights before it is judged.
    """

    loss_samples: Annotated[int, Field(ge=2, strict=True)] = 600
    num_samples: Annotated[int, Field(ge=2, strict=True)] = 512
    num_steps: Count = 8
    sampler: Literal["ddim", "dpmpp_2m"] = "ddim"
    guidance_scale: NotNegative = 1.0
    fine_tune_steps: Count | None = None  # a key that came later changes no fingerprint


class AnchorsSection(Section):
    """Architectures that are trained alone before the search: what `predicted_frechet` is fitted on.

    Attributes:
        num: of architectures, drawn from strata of MACs.
        num_seeds: trainings of each from fresh weights.
        num_steps: of each training, with the supernet's batch size and learning rate.
        num_samples: by which each is judged.
    """

    num: Annotated[int, Field(ge=8, strict=True)] = 12
    num_seeds: Count = 2
    num_steps: Count = 600
    num_samples: Annotated[int, Field(ge=40, strict=True)] = 1000


class RungSection(Section):
    """A dearer way to judge the best of what was judged in the way before.

    Attributes:
        objective: of samples, in the place of the quality objectives of the way before.
        num_samples: that are drawn of each architecture.
        fine_tune_steps: by which each is trained on before it is judged; without them, `quality.fine_tune_steps`.
        share: of those that are done in the way before, the most promising ones, which are judged so.
    """

    objective: Literal["frechet_classifier", "kid_classifier", "predicted_frechet"] = "frechet_classifier"
    num_samples: Annotated[int, Field(ge=40, strict=True)]
    fine_tune_steps: Count | None = None
    share: Annotated[Positive, Field(le=1)] = 0.25


class DistillSection(Section):
    """How the chosen architecture is trained after the search; `num_steps` of its own training."""

    num_steps: Count = 2000
    batch_size: Count = 64
    learning_rate: Positive = 5e-4


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
        run_dir: folder of the run; relative ones start where the command runs.
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
    run_dir: Name = "runs"

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
        raise FileNotFoundError(
            f"{name}: there is no such file, and no such sweep ships; those that do are {', '.join(builtin_names())}"
        )
    return validated(with_overrides(read_document(text, source=source), overrides), SweepConfig)


def resolved_yaml(config: SweepConfig) -> str:
    """The sweep with every key written out; `load_config` reads it back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def evaluation_settings(config: SweepConfig) -> dict[str, Any]:
    """The part of a sweep that decides the numbers of an evaluation, whatever is searched and wherever it runs."""
    excluded = {"name", "run_dir", "trials", "budget", "start_from", "search", "distill", "limits", "objectives", "rungs"}
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
        "seed": config.seed,
        **({"batch": config.search.batch} if config.search.batch else {}),  # a key that came later changes no older header
    }


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
