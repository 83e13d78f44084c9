"""Costs are the layer plan's own counts, exact, under the names that objectives are known by."""

import numpy as np

from objectives.cost import cost_estimates, counted_costs
from objectives.objective import OBJECTIVES
from search_space import get_scale, get_space, layer_plan


def test_costs_are_the_sums_over_the_plans_operations():
    architecture = get_space("digits").sample(np.random.default_rng(0))
    plan = layer_plan(architecture, get_scale("digits-proxy"))
    costs = cost_estimates(plan)
    assert costs["macs"].value == sum(operation.macs for operation in plan.operations)
    assert costs["parameters"].value == sum(operation.parameters for operation in plan.operations)
    largest = max(operation.input_bytes + operation.output_bytes for operation in plan.operations)
    assert costs["peak_activation_bytes"].value >= largest
    assert all(cost.half_width == 0.0 and cost.n is None for cost in costs.values())


def test_every_cost_objective_but_the_predicted_ones_is_among_them():
    plan = layer_plan(get_space("digits").smallest(), get_scale("digits-proxy"))
    known = {objective.name for objective in OBJECTIVES if objective.is_cost}
    assert known - set(cost_estimates(plan)) == {"latency_ms", "image_ms", "peak_memory_bytes"}


def test_the_largest_network_costs_more_than_the_smallest():
    space, scale = get_space("digits"), get_scale("digits-proxy")
    small, large = (cost_estimates(layer_plan(one, scale)) for one in (space.smallest(), space.largest()))
    assert all(small[name].value < large[name].value for name in ("parameters", "macs", "peak_activation_bytes"))


def test_costs_of_many_are_the_costs_of_each():
    space, scale, rng = get_space("digits"), get_scale("digits-deploy"), np.random.default_rng(0)
    architectures = [space.sample(rng) for _ in range(5)]
    each = [cost_estimates(layer_plan(one, scale)) for one in architectures]
    for name, column in counted_costs(architectures, scale).items():
        assert column.tolist() == [costs[name].value for costs in each]
    known = {objective.name for objective in OBJECTIVES if objective.is_cost}
    assert known - set(counted_costs(architectures, scale)) == {"latency_ms", "image_ms", "peak_memory_bytes"}
