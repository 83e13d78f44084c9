"""Distillation losses between what a student and its teacher compute for the same input: arrays in, losses out.

Both are zero where student and teacher agree, and no gradient flows into the teacher.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def output_distillation_loss(
    student: Float[Array, "batch *shape"], teacher: Float[Array, "batch *teacher_shape"]
) -> Float[Array, " batch"]:
    """Mean squared difference of the two networks' outputs, per sample.

    Raises:
      ValueError: The shapes differ.

    Source: Kim et al. 2023 (BK-SDM), equation 2.
    """
    _check_same_shape("output", student, teacher)
    return _per_sample_mean_square(student - jax.lax.stop_gradient(teacher))


def feature_distillation_loss(
    student_features: Sequence[Float[Array, "batch ..."]],
    *,
    teacher_features: Sequence[Float[Array, "batch ..."]],
    mask_beyond: float = math.inf,
) -> Float[Array, " batch"]:
    """Mean over blocks of the squared difference of their outputs, each divided by the teacher's mean square there.

    Without the division the few blocks with large activations are all that is learned; without the mask, the few extreme
    activations of a block.

    Args:
      student_features: One array per block, with the teacher's shape; put a 1x1 convolution behind narrower ones.
      teacher_features: One array per block.
      mask_beyond: Entries further from 0 than so many times their array's root mean square, in student or teacher, do not
        count: neither in the difference nor in the teacher's mean square.

    Returns:
      One loss per sample; 1 for a student that outputs zeros to a teacher without extremes, on average over the batch.

    Raises:
      ValueError: No block, another number of blocks, or a block of another shape.

    Source: Zhang et al. 2024 (LAPTOP-Diff), section 3.4, for the division; we take the teacher's mean square over the batch, so
    that one sample of small norm does not dominate. Fang et al. 2024 (TinyFusion), masked representation distillation, for the
    mask.
    """
    if not teacher_features or len(student_features) != len(teacher_features):
        raise ValueError(
            f"student and teacher must have the same blocks, at least one; got {len(student_features)} and "
            f"{len(teacher_features)}"
        )
    losses = []
    for index, (student, teacher) in enumerate(zip(student_features, teacher_features, strict=True)):
        _check_same_shape(f"block {index}", student, teacher)
        losses.append(_normalised_square_error(student, jax.lax.stop_gradient(teacher), mask_beyond))
    return jnp.mean(jnp.stack(losses), axis=0)


def is_extreme(x: Float[Array, "*shape"], beyond: float) -> Bool[Array, "*shape"]:
    """Which entries are further from 0 than so many times the root mean square of all.

    >>> is_extreme(jnp.array([1.0, -1.0, 1.0, -9.0]), 1.5).tolist()
    [False, False, False, True]
    """
    return jnp.abs(x) > beyond * jnp.sqrt(jnp.mean(jnp.square(x)))


def _normalised_square_error(
    student: Float[Array, "batch ..."], teacher: Float[Array, "batch ..."], mask_beyond: float
) -> Float[Array, " batch"]:
    counts = ~(is_extreme(student, mask_beyond) | is_extreme(teacher, mask_beyond))
    # Of a block that the teacher leaves at zero, the smallest normal number keeps 0 / 0 at 0.
    scale = jnp.maximum(_mean_square(teacher, counts, None), jnp.finfo(teacher.dtype).tiny)
    return _mean_square(student - teacher, counts, tuple(range(1, teacher.ndim))) / scale


def _mean_square(x: Float[Array, "..."], counts: Bool[Array, "..."], axes: tuple[int, ...] | None) -> Float[Array, "..."]:
    """Over the entries that count; 0 where none does."""
    return jnp.sum(jnp.square(x), axis=axes, where=counts) / jnp.maximum(jnp.sum(counts, axis=axes), 1)


def _per_sample_mean_square(difference: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    return jnp.mean(jnp.square(difference), axis=tuple(range(1, difference.ndim)))


def _check_same_shape(what: str, student: Array, teacher: Array) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"{what}: student and teacher must have one shape, got {student.shape} and {teacher.shape}; "
            "map the student's channels with a 1x1 convolution first"
        )
