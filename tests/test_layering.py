"""The shape of the package: who imports whom, how long files are, what costs start-up time."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "pima_hp"
# Later layers import earlier ones; modules of one layer may import each other.
LAYERS = [
    "__init__ errors formatting seeds versions",
    "config",
    "run",
    "data",
    "model",
    "training",
    "ledger",
    "analysis",
    "report",
    "commands plugins",
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}
TORCH_FREE = ("ledger", "analysis", "report")
HEAVY = {"torch", "lightning", "torchmetrics", "pandas", "numpy", "altair", "pyarrow", "numba"}
MODULES = sorted(PACKAGE.rglob("*.py"))
SOURCES = sorted(path for folder in ("pima_hp", "tests", "scripts") for path in (ROOT / folder).rglob("*.py"))


def unit_of(path: Path) -> str:
    """The package or root module that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(tree: ast.AST) -> set[str]:
    """The dotted names that are imported anywhere below a node."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def at_import(tree: ast.Module) -> list[ast.stmt]:
    """The statements that run when a module is imported: no function bodies, no type checking."""
    kept: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        kept.append(node)
    return kept


def test_every_module_has_a_place_in_the_order_of_layers() -> None:
    assert {unit_of(path) for path in MODULES} - {"conf"} <= set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_package_imports_only_from_packages_to_its_left(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = RANK["commands" if path == PACKAGE / "__init__.py" else unit_of(path)]  # it offers the public functions
    for name in imports_of(tree):
        if name.startswith("pima_hp."):
            imported = name.split(".")[1]
            imported = imported if imported in RANK else "__init__"
            assert RANK[imported] <= own, f"{path.name} imports {name}"


@pytest.mark.parametrize("folder", [*TORCH_FREE, "plugins"])
def test_reading_results_and_the_doors_to_hydra_name_no_heavy_package(folder: str) -> None:
    for path in (PACKAGE / folder).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        everywhere = {name.partition(".")[0] for name in imports_of(tree)}
        lazily = (
            {"torch"} if path.name == "baselines.py" else set()
        )  # the splits that baselines need are drawn by torch
        assert not everywhere & {"torch", "lightning", "torchmetrics"} - lazily, path
        if folder == "plugins":
            first = imports_of(ast.Module(at_import(tree), []))
            assert not {name.partition(".")[0] for name in first} & (HEAVY | {"pima_hp"}), path


def test_no_torch_is_loaded_by_reading_reporting_or_scanning_plugins() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for folder in TORCH_FREE
        for path in sorted((PACKAGE / folder).rglob("*.py"))
    ]
    code = f"""
import importlib, sys
heavy = lambda: sorted({{"torch", "lightning", "lightning.pytorch", "numba"}} & set(sys.modules))
import hydra_plugins.pima_hp_grids, hydra_plugins.pima_hp_stacked, pima_hp.commands.compose
assert not heavy(), heavy()
for name in {[*modules, "pima_hp.commands.main", "pima_hp.commands.hydra_callback", "pima_hp.commands.summary"]}:
    importlib.import_module(name)
    assert not heavy(), (name, heavy())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_one_module_makes_generators_and_no_other_seeds_anything() -> None:
    for path in MODULES:
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = {ast.unparse(node) for node in nodes if isinstance(node, ast.Call)}
        seeding = [name for name in names if "manual_seed" in name or "seed_everything" in name or "Generator(" in name]
        assert not seeding or path.name == "seeds.py", (path, seeding)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_and_its_name_says_what_it_holds(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    assert path.stem not in {"utils", "util", "helpers", "helper", "misc", "common"}


def code_lines(text: str) -> int:
    """Count the lines that hold code: no blank lines, comments or docstrings."""
    docs: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                docs |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for n, line in lines if n not in docs and line.strip() and not line.strip().startswith("#"))


def test_the_package_does_not_grow() -> None:
    texts = [path.read_text(encoding="utf-8") for path in MODULES]
    assert sum(map(code_lines, texts)) <= 7_200
    assert sum(len(text.splitlines()) for text in texts) <= 11_450
    assert len([path for path in MODULES if path.parent == PACKAGE and path.stem != "__init__"]) <= 5


@pytest.mark.parametrize("name", ["pima_hp_grids", "pima_hp_stacked"])
def test_hydra_finds_the_plugins_of_this_checkout(name: str) -> None:
    module = importlib.import_module(f"hydra_plugins.{name}")
    assert Path(str(module.__file__)).is_relative_to(ROOT / "pima_hp" / "plugins")
    assert not (PACKAGE / "plugins" / "hydra_plugins" / "__init__.py").exists()
