"""The command line answers `--help` at once: nothing heavy is imported before a command needs it."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
HEAVY = {"jax", "flax", "ray", "nni", "tensorflow_datasets", "optuna", "pymoo", "plotly", "numpy", "rich", "pydantic"}
COMMANDS = ["sweep", "front", "report", "handoff", "train", "distill", "sample", "verify", "data", "space", "describe"]
COMMANDS += ["compare", "ledger", "export"]


def _modules_after(*arguments: str) -> set[str]:
    """The top-level modules that are loaded once the command line has answered."""
    program = (
        "import contextlib, io, json, sys\n"
        "from experiments.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    main({list(arguments)!r})\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(answer.stdout))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",), ("sweep", "--help"), ("export", "--help"), ("data", "check", "--help"), ("--version",),
        ("quality", "measure", "--help"), ("quality", "features", "--help"), ("quality", "features"),
    ],
)  # fmt: skip
def test_help_imports_nothing_heavy(arguments):
    loaded = _modules_after(*arguments)
    assert not loaded & HEAVY
    assert {"click", "experiments"} <= loaded


@pytest.mark.parametrize(
    "arguments", [("describe", "sd15"), ("describe", "md-lite", "--json"), ("compare", "sd15", "mobilediffusion")]
)
def test_looking_at_full_size_designs_imports_nothing_heavy_but_numpy(arguments):
    loaded = _modules_after(*arguments)
    assert not loaded & (HEAVY - {"numpy"})
    assert {"numpy", "search_space"} <= loaded


def test_looking_at_a_space_imports_neither_jax_nor_ray():
    loaded = _modules_after("space", "describe", "digits-small", "--limit", "parameters=1e9")
    assert not loaded & (HEAVY - {"numpy", "rich"})


def test_help_names_every_command():
    command = [sys.executable, "-m", "experiments.cli", "--help"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    missing = [name for name in COMMANDS if not re.search(rf"^  {name}\s", answer.stdout, re.MULTILINE)]
    assert not missing
