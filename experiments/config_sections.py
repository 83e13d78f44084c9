"""The sections of `sweep.yaml`, with types, ranges and defaults of their keys; `experiments.config` puts them together."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from experiments.config_fields import Count, CountOrNone, Fraction, Name, NotNegative, Positive, Section, Seed
from experiments.searchers.registry import searcher_names
from latency_models.device import device_names

LEAST_SAMPLES = 40  # whose distance to the data has an interval


def _searcher_name(name: str) -> str:
    if name not in searcher_names():
        raise ValueError(f"there is no searcher {name!r}; known are {', '.join(searcher_names())}")
    return name


def _device_name(name: str) -> str:
    known = ("auto", *device_names())
    if name.partition(":")[0] not in known:
        raise ValueError(f"there is no device {name!r}; known are {', '.join(known)}")
    return name


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
        predictor: folder of a predictor that was fitted, calibrated or anchored before; then nothing is measured for one.
        num_architectures: that are timed to fit the predictor.
        rounds: repetitions of the timing of each.
        image: what an image takes beside the network; `image_ms` needs it.
    """

    device: Annotated[str, AfterValidator(_device_name)] = "auto"
    predictor: Name | None = None  # a key that came later changes no fingerprint
    num_architectures: Annotated[int, Field(ge=8, strict=True)] = 40
    rounds: Annotated[int, Field(ge=2, strict=True)] = 10
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
        seed: of the searcher; by default the sweep's.
    """

    searcher: Annotated[str, AfterValidator(_searcher_name)] = "pocket"
    num_workers: Count = 2
    executor: Literal["ray", "local"] = "ray"
    batch: Count | None = None
    population: Annotated[int, Field(ge=2, strict=True)] = 24
    cpus_per_worker: Positive = 1.0
    gpus_per_worker: NotNegative = 0.0
    max_worker_gb: Positive | None = None
    seed: Seed | None = None


class StartSection(Section):
    """What the search starts from, beside what its own ledger holds.

    Attributes:
        designs: names of published designs, or `architecture.json` files, to evaluate before anything else.
        front: folder of an earlier run, of whatever settings, whose front is evaluated anew.
        ledger: folder of an earlier run of the same evaluation settings, whose outcomes are taken over and not counted.
        stages: folder of an earlier run of the same evaluation settings, whose supernet, classifier and predictor are taken
            over, and nothing that it found.
    """

    designs: tuple[Name, ...] = ()
    front: Name | None = None
    ledger: Name | None = None
    stages: Name | None = None


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


JudgedSamples = Annotated[int, Field(ge=LEAST_SAMPLES, strict=True)]


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
    num_samples: JudgedSamples = 1000


class RungSection(Section):
    """A dearer way to judge the best of what was judged in the way before.

    Attributes:
        objective: of samples, in the place of the quality objectives of the way before.
        num_samples: that are drawn of each architecture.
        fine_tune_steps: by which each is trained on before it is judged; without them, `quality.fine_tune_steps`.
        share: of those that are done in the way before, the most promising ones, which are judged so.
    """

    objective: Literal["frechet_classifier", "kid_classifier", "predicted_frechet"] = "frechet_classifier"
    num_samples: JudgedSamples
    fine_tune_steps: Count | None = None
    share: Annotated[Positive, Field(le=1)] = 0.25


class DistillSection(Section):
    """How the chosen architecture is trained after the search; `num_steps` of its own training.

    Attributes:
        at_end: whether a sweep hands the knee of its front over and distils it; otherwise it ends with the front.
    """

    at_end: bool = Field(default=True, strict=True)
    num_steps: Count = 2000
    batch_size: Count = 64
    learning_rate: Positive = 5e-4
