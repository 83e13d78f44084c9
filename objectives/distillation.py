"""Distillation losses between what a student and its teacher compute for the same input: arrays in, losses out.

Both are zero where student and teacher agree, and no gradient flows into the teacher.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


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
) -> Float[Array, " batch"]:
    """Squared differences of the stages' outputs, each divided by the teacher's mean square there, summed over stages.

    Without the division the few stages with large activations are all that is learned.

    Args:
      student_features: One array per stage, with the teacher's shape; put a 1x1 convolution behind narrower ones.
      teacher_features: One array per stage.

    Returns:
      One loss per sample; 1 per stage for a student that outputs zeros.

    Raises:
      ValueError: No stage, another number of stages, or a stage of another shape.

    Source: Zhang et al. 2024 (LAPTOP-Diff), section 3.4; we take the teacher's mean square over the batch, so that one
    sample of small norm does not dominate.
    """
    if not teacher_features or len(student_features) != len(teacher_features):
        raise ValueError(
            f"student and teacher must have the same stages, at least one; got {len(student_features)} and "
            f"{len(teacher_features)}"
        )
    total = jnp.zeros(())
    for index, (student, teacher) in enumerate(zip(student_features, teacher_features, strict=True)):
        _check_same_shape(f"stage {index}", student, teacher)
        total = total + _normalised_square_error(student, jax.lax.stop_gradient(teacher))
    return total


def _normalised_square_error(student: Float[Array, "batch ..."], teacher: Float[Array, "batch ..."]) -> Array:
    scale = jnp.mean(jnp.square(teacher))
    # A stage that the teacher leaves at zero has no scale; the smallest normal number keeps 0 / 0 at 0.
    return _per_sample_mean_square(student - teacher) / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny)


def _per_sample_mean_square(difference: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    return jnp.mean(jnp.square(difference), axis=tuple(range(1, difference.ndim)))


def _check_same_shape(what: str, student: Array, teacher: Array) -> None:
    if student.shape != teacher.shape:
        raise ValueError(
            f"{what}: student and teacher must have one shape, got {student.shape} and {teacher.shape}; "
            "map the student's channels with a 1x1 convolution first"
        )
