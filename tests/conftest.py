"""What every test gets: shape checks on, JAX on the CPU, no rank promotion, seeds, and caches that end with the run."""

import os
import pathlib
import tempfile

# Before anything imports JAX or NumPy.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
_CACHE = tempfile.TemporaryDirectory(prefix="pocketunet-tests-")
os.environ["POCKETUNET_CACHE_DIR"] = _CACHE.name
os.environ["POCKETUNET_DATA_DIR"] = os.path.join(_CACHE.name, "data")
# Many tests make the same programs anew, here and in the processes that they start.
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(_CACHE.name, "programs")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
# Tests run side by side.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

from jaxtyping import install_import_hook  # noqa: E402

# Modules that say shapes: millions of small values are built of the rest, and pyright reads its types.
_ROOT = pathlib.Path(__file__).parents[1]
_PACKAGES = ("search_space", "supernet", "diffusion", "objectives", "latency_models", "experiments")
_SAYING_SHAPES = [
    ".".join(path.relative_to(_ROOT).with_suffix("").parts)
    for package in _PACKAGES
    for path in (_ROOT / package).rglob("*.py")
    if path.name != "__init__.py" and "from jaxtyping import" in path.read_text("utf-8")
]
install_import_hook(_SAYING_SHAPES, "shape_checks.check")

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
