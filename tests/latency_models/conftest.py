"""Small plans, and timings without noise."""

from collections.abc import Callable

import numpy as np
import pytest

from latency_models.timing import Timing
from search_space import LayerPlan, get_scale, get_space, layer_plan


def exact_timing(ms: float) -> Timing:
    """A measurement without noise."""
    return Timing(float(ms), float(ms), float(ms), 10, "thread_cpu", "p25", 0.0)


@pytest.fixture(scope="session")
def make_timing() -> Callable[[float], Timing]:
    """Makes a measurement without noise of so many milliseconds."""
    return exact_timing


@pytest.fixture(scope="session")
def plans() -> list[LayerPlan]:
    """Eighty random plans of the smallest space at its deploy scale."""
    space, rng = get_space("digits"), np.random.default_rng(3)
    return [layer_plan(space.sample(rng), get_scale("digits-deploy")) for _ in range(80)]
