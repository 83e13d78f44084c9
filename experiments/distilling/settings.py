"""The keys of each method of distillation, with types, ranges and defaults: of a plan's file and of the command's options."""

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from experiments.config_fields import Count, Fraction, NotNegative, Positive, Section

LARGEST_START = 32  # steps that halving begins with, where nothing else is said


class MethodSettings(Section):
    """What every method takes.

    Attributes:
        teacher: folder of a bundle; by default the bundle's own `teacher/` for `knowledge`, and the network itself otherwise.
        updates: of the weights, in each phase; by default as `training.yaml` says.
        learning_rate: the highest; by default as `training.yaml` says.
        batch_size: by default as `training.yaml` says.
        lora_rank: of low-rank updates that are trained in place of the weights (LoRA); by default as `training.yaml` says.
    """

    teacher: Path | None = None
    updates: Count | None = None
    learning_rate: Positive | None = None
    batch_size: Count | None = None
    lora_rank: Count | None = None


class KnowledgeSettings(MethodSettings):
    """Knowledge distillation: the data's targets, the teacher's outputs, and its streams behind blocks.

    Attributes:
        output_weight: of the distance to the teacher's output; by default as `training.yaml` says.
        feature_weight: of the distance to the teacher's streams; by default as `training.yaml` says.
        mask_beyond: activations further from 0 than so many times the root mean square of their block are left out, in
            teacher and student.
        weighting: of the terms by time step: all alike, or by the signal-to-noise ratio, at most 5 (Hang et al. 2023).
    """

    method: Literal["knowledge"]
    output_weight: NotNegative | None = None
    feature_weight: NotNegative | None = None
    mask_beyond: Positive = 6.0
    weighting: Literal["constant", "min_snr"] = "constant"


class ReluAttentionSettings(MethodSettings):
    """Attention by softmax becomes attention by ReLU divided by the number of keys, and is trained to do what it did."""

    method: Literal["relu-attention"]
    output_weight: NotNegative | None = None
    feature_weight: NotNegative | None = None


class _Halving(MethodSettings):
    """Methods that halve the number of sampling steps until so many are left.

    Attributes:
        steps: of the student, when it samples.
        from_steps: of the teacher of the first round; by default four times `steps`, at least 32.
    """

    steps: Count
    from_steps: Count | None = None

    @property
    def start(self) -> int:
        """Steps of the first round's teacher."""
        return self.from_steps or max(LARGEST_START, 4 * self.steps)

    @model_validator(mode="after")
    def _halves(self) -> "_Halving":
        halvings = math.log2(self.start / self.steps)
        if halvings < 1 or not halvings.is_integer():
            raise ValueError(
                f"steps must be from_steps halved once or more, got steps={self.steps} from {self.start}; "
                f"use for example from_steps={2 * self.steps}"
            )
        return self


class ProgressiveSettings(_Halving):
    """Progressive distillation: one step of the student is two of the teacher.

    Attributes:
        guidance_scale: of the first teacher, which the student then has in its weights; by default as `training.yaml` says.
        weighting: of the squared error of x0: by the larger of signal-to-noise ratio and 1, or all alike, or by the ratio.
    """

    method: Literal["progressive"]
    guidance_scale: NotNegative | None = None
    weighting: Literal["truncated_snr", "constant", "snr"] = "truncated_snr"


class CfgAwareSettings(_Halving):
    """Step distillation that is aware of guidance: student and teacher are compared guided, too.

    Attributes:
        least_guidance: guidance scales are drawn uniformly from here,
        largest_guidance: to here.
        guided_share: how often a step compares guided predictions.
        original_weight: of the denoising loss, brought to the size of the distillation loss.
    """

    method: Literal["cfg-aware"]
    least_guidance: NotNegative = 2.0
    largest_guidance: NotNegative = 14.0
    guided_share: Annotated[Fraction, Field(gt=0)] = 0.1
    original_weight: NotNegative = 0.2

    @model_validator(mode="after")
    def _has_a_range(self) -> "CfgAwareSettings":
        if self.largest_guidance < self.least_guidance:
            raise ValueError(
                f"largest_guidance must be at least least_guidance={self.least_guidance}, got {self.largest_guidance}; "
                "use 2 and 14"
            )
        return self


class AdversarialSettings(MethodSettings):
    """Adversarial diffusion distillation (ADD): a discriminator on frozen features, and score distillation.

    The student should be able to sample in so many steps beforehand, if only badly: distil it progressively first.

    Attributes:
        steps: of the student, when it samples.
        learning_rate: of the student, the highest; far below that of other trainings, or its images collapse.
        distillation_weight: of the distance to what the teacher makes of the student's noised images.
        gradient_penalty: weight of R1, the discriminator's squared gradient at the features of real images.
        discriminator_rate: learning rate of the discriminator, as a multiple of the student's; its heads start from nothing.
    """

    method: Literal["adversarial"]
    steps: Annotated[Count, Field(le=4)] = 1
    learning_rate: Positive | None = 3e-5
    distillation_weight: NotNegative = 2.5
    gradient_penalty: NotNegative = 1e-5
    discriminator_rate: Positive = 60.0


class UfogenSettings(MethodSettings):
    """UFOGen: a discriminator of noised images, that starts as the denoiser, and a term that reconstructs.

    The student should be able to sample in so many steps beforehand, if only badly: distil it progressively first.

    Attributes:
        steps: of the student, when it samples.
        learning_rate: of the student, the highest; far below that of other trainings, or its images collapse.
        num_times: noise levels that the student starts from, a multiple of `steps`; a discriminator sees images one such level
            earlier, which on small images should be the level of the next step. By default as many as steps.
        reconstruction_weight: of the distance of a prediction to the image that was noised.
        discriminator_rate: learning rate of the discriminator, as a multiple of the student's.
    """

    method: Literal["ufogen"]
    steps: Annotated[Count, Field(le=4)] = 1
    learning_rate: Positive | None = 3e-5
    num_times: Count | None = None
    reconstruction_weight: NotNegative = 1.0
    discriminator_rate: Positive = 20.0

    @property
    def times(self) -> int:
        """Noise levels that the student starts from."""
        return self.num_times or self.steps

    @model_validator(mode="after")
    def _starts_where_it_samples(self) -> "UfogenSettings":
        if self.times % self.steps:
            raise ValueError(
                f"num_times must be a multiple of steps={self.steps}, got {self.num_times}; use {self.steps}, or leave it out"
            )
        return self


class ControlSettings(MethodSettings):
    """A plug-in that follows a condition image, trained beside the frozen network against UFOGen's discriminator.

    Attributes:
        condition: what of an image the network is to follow.
        learning_rate: of the plug-in, the highest.
        reconstruction_weight: of the distances of an image and of its condition to those that were asked for.
        discriminator_rate: learning rate of the discriminator, as a multiple of the plug-in's.
    """

    method: Literal["control"]
    condition: Literal["edges", "blurred"] = "edges"
    learning_rate: Positive | None = 1e-3
    reconstruction_weight: NotNegative = 30.0
    discriminator_rate: Positive = 0.6

    @model_validator(mode="after")
    def _trains_no_weights(self) -> "ControlSettings":
        if self.lora_rank is not None:
            raise ValueError(
                f"control trains a plug-in and no weights, so that lora_rank={self.lora_rank} is of nothing; leave it out"
            )
        return self


AnySettings = (
    KnowledgeSettings
    | ReluAttentionSettings
    | ProgressiveSettings
    | CfgAwareSettings
    | AdversarialSettings
    | UfogenSettings
    | ControlSettings
)
