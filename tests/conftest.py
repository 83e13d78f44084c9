"""What every test gets: shape checks on, JAX on the CPU, no rank promotion, seeds, and caches that end with the run."""

import os
import tempfile

# Before anything imports JAX.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
_CACHE = tempfile.TemporaryDirectory(prefix="pocketunet-tests-")
os.environ["POCKETUNET_CACHE_DIR"] = _CACHE.name
os.environ["POCKETUNET_DATA_DIR"] = os.path.join(_CACHE.name, "data")

from jaxtyping import install_import_hook  # noqa: E402

# Of the search space only what counts in arrays: millions of small values are built of the rest, and pyright reads its types.
CHECKED = ("search_space.counting", "supernet", "diffusion", "objectives", "latency_models", "experiments")
install_import_hook(list(CHECKED), "shape_checks.check")

import random  # noqa: E402

import hypothesis  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

# Derandomised: a failure is the same failure on every machine. No deadline: the first call of a program compiles it.
hypothesis.settings.register_profile("pocketunet", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("pocketunet")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Seeds the global generators, which kept libraries draw from; our own code takes its keys as arguments."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002


@pytest.fixture
def float64():
    """Double precision for the maths, taken back afterwards."""
    with jax.enable_x64(True):
        yield
