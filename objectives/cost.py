"""Costs that follow from the architecture alone: parameters, multiply-accumulates, peak activation memory."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from objectives.estimate import Estimate
from search_space import Architecture, LayerPlan, Scale
from search_space.counting import count_architectures


def cost_estimates(plan: LayerPlan) -> dict[str, Estimate]:
    """The exact costs of a stand-alone network, for one image and one network call.

    Args:
      plan: Of an architecture at the scale that the costs are asked for.

    Returns:
      `parameters` (count), `macs` (all of them), its two parts `macs_conv_linear` and `macs_attention` (the two
      attention products), and `peak_activation_bytes` (float32).
    """
    costs = {
        "parameters": plan.parameters,
        "macs": plan.macs,
        "macs_conv_linear": plan.macs_conv_linear,
        "macs_attention": plan.macs_attention,
        "peak_activation_bytes": plan.peak_activation_bytes,
    }
    return {name: Estimate.exact(value) for name, value in costs.items()}


def counted_costs(architectures: Sequence[Architecture], scale: Scale) -> dict[str, Float[np.ndarray, " architectures"]]:
    """Values of every objective that is counted, by its name: what `cost_estimates` gives, for many architectures at once.

    Raises:
      ValueError: An architecture does not fit the scale.
    """
    counts = count_architectures(architectures, scale)
    columns = {
        "parameters": counts.parameters,
        "macs": counts.macs,
        "peak_activation_bytes": counts.peak_activation_bytes,
    }
    return {name: column.astype(np.float64) for name, column in columns.items()}
