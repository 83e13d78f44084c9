"""Holds the arrows between the folders and the heavy imports that each may have, by reading every import statement."""

import ast
import dataclasses
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
ARROWS = {
    "search_space": set(),
    "diffusion": set(),
    "supernet": {"search_space"},
    "objectives": {"search_space", "diffusion"},
    "latency_models": {"search_space"},
    "experiments": {"search_space", "diffusion", "supernet", "objectives", "latency_models"},
}
LIGHT = {"numpy", "jaxtyping"}
ALLOWED = {
    "search_space": LIGHT,
    "diffusion": LIGHT | {"jax"},
    "supernet": LIGHT | {"jax", "flax", "optax", "safetensors"},
    "objectives": LIGHT | {"jax", "flax", "optax", "scipy", "sklearn", "pymoo"},
    "latency_models": LIGHT | {"scipy", "sklearn", "lightgbm"},
    "experiments": LIGHT
    | {"jax", "flax", "optax", "orbax", "ray", "tensorflow_datasets", "optuna", "pymoo", "plotly", "nni"}
    | {"grain", "array_record", "etils", "PIL", "safetensors", "sklearn", "scipy", "pydantic", "yaml", "rich", "click"},
}
# A runtime may be imported inside the file that is about it, and nowhere else in its folder.
INSIDE_ONE_FILE = {
    "nni": ("search_space", ("nni",)),
    "jax": ("latency_models", ("xla", "litert", "jax_reference", "onnxruntime_cpu", "coreml")),
    "jaxlib": ("latency_models", ("xla",)),
    "ai_edge_litert": ("latency_models", ("litert",)),
    "litert_converter": ("latency_models", ("litert",)),
    "onnx": ("latency_models", ("onnxruntime_cpu",)),
    "jax2onnx": ("latency_models", ("onnxruntime_cpu",)),
    "onnxruntime": ("latency_models", ("onnxruntime_cpu",)),
    "coremltools": ("latency_models", ("coreml",)),
    "stablehlo_coreml": ("latency_models", ("coreml",)),
    "pyarrow": ("experiments", ("ledger_export",)),
    "optuna_dashboard": ("experiments", ("dashboard",)),
    "tensorboardX": ("experiments", ("training_curve",)),
    "threadpoolctl": ("experiments", ("gaussian_process",)),
    "mlflow": ("experiments", ("mlflow_tracker",)),
    "wandb": ("experiments", ("wandb_tracker",)),
}


@dataclasses.dataclass(frozen=True)
class Import:
    """One import statement: who imports what, where, and whether the import waits for a call."""

    path: pathlib.Path
    line: int
    module: str
    is_lazy: bool

    @property
    def top(self) -> str:
        return self.module.split(".")[0]

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.module}"


def _imports_of(path: pathlib.Path) -> list[Import]:
    found = []

    def visit(node: ast.AST, is_lazy: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(path, node.lineno, alias.name, is_lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            found.append(Import(path, node.lineno, node.module or "", is_lazy))
        for child in ast.iter_child_nodes(node):
            visit(child, is_lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    visit(ast.parse(path.read_text("utf-8")), is_lazy=False)
    return found


def _imports_in(folder: str) -> list[Import]:
    return [found for path in sorted((ROOT / folder).rglob("*.py")) for found in _imports_of(path)]


@pytest.mark.parametrize("folder", ARROWS)
def test_a_folder_imports_only_the_folders_its_arrows_point_to(folder):
    wrong = [i for i in _imports_in(folder) if i.top in ARROWS and i.top not in ARROWS[folder] | {folder}]
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("folder", ARROWS)
def test_a_folder_imports_only_the_libraries_of_the_design(folder):
    third_party = [i for i in _imports_in(folder) if i.top not in sys.stdlib_module_names and i.top not in ARROWS]
    wrong = [i for i in third_party if i.top not in ALLOWED[folder] and not _is_inside_its_file(i, folder)]
    assert not wrong, "\n".join(map(str, wrong))


def _is_inside_its_file(found: Import, folder: str) -> bool:
    home, stems = INSIDE_ONE_FILE.get(found.top, ("", ()))
    parts = found.path.relative_to(ROOT / folder).with_suffix("").parts
    is_home = folder == home and any(stem in part for stem in stems for part in parts)
    return is_home and (found.top != "nni" or found.is_lazy)


def test_every_folder_of_the_design_is_read():
    assert all(len(_imports_in(folder)) > 3 for folder in ARROWS)


def test_the_reader_sees_lazy_imports_and_imports_below_a_condition(tmp_path):
    source = "import a\nif True:\n    from b.c import d\ndef f():\n    import e\n"
    (tmp_path / "module.py").write_text(source)
    found = [(i.module, i.is_lazy) for i in _imports_of(tmp_path / "module.py")]
    assert found == [("a", False), ("b.c", False), ("e", True)]


def test_no_module_imports_what_imports_it():
    """No two modules import each other at load time."""
    edges = {}
    for folder in ARROWS:
        for found in _imports_in(folder):
            if not found.is_lazy and found.top in ARROWS:
                importer = ".".join(found.path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
                edges.setdefault(importer, set()).add(found.module)
    mutual = sorted({tuple(sorted((a, b))) for a in edges for b in edges[a] if a in edges.get(b, ()) and a != b})
    assert not mutual
