"""The commands of README and docs/usage.md run (shortened), their links exist, and their Python runs."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from pima_hp.config.options import options
from pima_hp.data.table import SHIPPED
from tests.conftest import Command

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, flags=re.S)
LINES = [line.split("#")[0].strip() for language, block in BLOCKS if language == "bash" for line in block.splitlines()]
WAYS = ("pima-hp-train", "python scripts/train.py")
LARGE = re.compile(r"experiment=.*report=")  # tests/test_conf.py trains a part of each experiment
TRAINING = sorted({line for line in LINES if line.startswith(WAYS) and not LARGE.search(line)})
EXPERIMENTS = set(re.findall(r"experiment=(\w+)", TEXT)) - {"NAME"}


def test_the_readme_is_one_page_with_commands():
    assert len(TRAINING) >= 10
    assert len(PAGES[0].read_text().splitlines()) <= 150


def test_every_experiment_that_is_named_exists_and_every_one_is_explained():
    assert set(options("experiment")) >= EXPERIMENTS
    assert all(f"`{name}`" in TEXT for name in options("experiment"))


@pytest.mark.parametrize("line", TRAINING)
def test_training_command(command: Command, line: str, tmp_path: Path):
    (tmp_path / "my.csv").write_text(
        "height,weight,sick\n" + "".join(f"{150 + i % 40},{50 + i % 33},{int(i % 3 == 0)}\n" for i in range(60))
    )
    arguments = shlex.split(next(line.removeprefix(way) for way in WAYS if line.startswith(way)))
    keys = {argument.partition("=")[0] for argument in arguments}
    short = {"trainer.max_epochs": "2", "n_replicates": "2"}
    if "ckpt_path" in keys:
        checkpoint_of(command, "NAME", tmp_path)
    if "export" in keys:
        assert command("study=article", "trainer.max_epochs=2").code == 0
        from pima_hp.ledger import read_study

        arguments = [
            f"export={read_study('outputs/article')['run_id'][0]}" if one.startswith("export=") else one
            for one in arguments
        ]
        short = {"trainer.max_epochs": "2"}
    if "-m" not in arguments:
        short.pop("n_replicates", None)
    arguments = [one for one in arguments if one.partition("=")[0] not in short]
    if not any(one.startswith("--") for one in arguments):
        arguments += [f"{key}={value}" for key, value in short.items()]
    done = command(*arguments)
    assert done.code == 0, done.err


def checkpoint_of(command: Command, study: str, folder: Path) -> None:
    """Train a run, and put its checkpoint where the README looks for it."""
    assert command(f"study={study}", "trainer.max_epochs=2").code == 0
    (found,) = (folder / "outputs" / study / "checkpoints").iterdir()
    found.rename(found.with_name("RUN"))


def test_scripts_that_the_readme_names_exist():
    for name in set(re.findall(r"scripts/(\w+)", TEXT)):
        assert (ROOT / "scripts" / name).exists() or (ROOT / "scripts" / f"{name}.py").exists(), name


def test_links_and_figures_exist():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_python_blocks_run(command: Command, tmp_path: Path):
    checkpoint_of(command, "NAME", tmp_path)
    (tmp_path / "pima_hp" / "data").mkdir(parents=True)
    shutil.copy(SHIPPED, tmp_path / "pima_hp" / "data")
    assert command("-m", "experiment=article", "n_replicates=2", "trainer.max_epochs=3").code == 0
    code = "\n".join(block for language, block in BLOCKS if language == "python")
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 -- it is ours, and it is the point
