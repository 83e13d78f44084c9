"""Costs that follow from the layer plan alone: parameters, multiply-accumulates, peak activation memory."""

from objectives.estimate import Estimate
from search_space import LayerPlan


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
