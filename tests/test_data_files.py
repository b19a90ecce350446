"""A study and its data files: one content for each path, whatever is swept (FAULTS B16, B17, E14)."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pima_hp.data.table import read_table
from pima_hp.ledger import read_study
from tests.conftest import Command
from tests.data.conftest import section
from tests.faults import commands
from tests.test_app import QUICK, state_of

OWN = ("data=csv", "data.path=my.csv", "data.label=y", "study=s", *QUICK)
SCALINGS = ("-m", "data.scaling=none,standard", *OWN)


def write_table(path: Path, shift: int = 0) -> str:
    """Write forty rows and return the digest of the file."""
    rows = "".join(f"{(7 * n) % 41 + shift},{(5 * n) % 13},{n % 2}\n" for n in range(40))
    path.write_text("a,b,y\n" + rows, encoding="utf-8")
    return read_table(section(path)).digest


def said(before: str, now: str) -> str:
    """What is said of a file that changed."""
    return f"must not change within a study; digest {before[:12]} before, {now[:12]} now"


COMMANDS = {
    "the same sweep": SCALINGS,
    "the same file, spelled otherwise": (*SCALINGS, "data.path=./my.csv"),
    "a sweep of another setting of data": ("-m", "data.val_fraction=0.2,0.3", *OWN),
    "a run of the sweep, with another seed": ("data.scaling=none", "seed=5", *OWN),
    "another sweeper": ("-m", "hydra/sweeper=basic", "data.scaling=none,minmax", *OWN),
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_b17_a_study_whose_data_file_changed_refuses_every_new_run(
    command: Command, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    before = write_table(tmp_path / "my.csv")
    assert command(*SCALINGS).code == 0
    now = write_table(tmp_path / "my.csv", shift=1)
    files = state_of(tmp_path / "outputs" / "s" / "ledger")
    for more in ((), ("dry_run=true",)):
        done = command(*arguments, *more)
        assert (done.code, done.out) == (3, "")
        assert said(before, now) in done.err.splitlines()[-1]
    assert state_of(tmp_path / "outputs" / "s" / "ledger") == files
    write_table(tmp_path / "my.csv")
    again = command(*SCALINGS)
    assert again.code == 0
    assert "0 to train" in again.err
    assert set(read_study(tmp_path / "outputs" / "s")["data_digest"]) == {before}


def test_b17_two_files_may_be_swept_and_neither_may_change(command: Command, tmp_path: Path) -> None:
    digests = [write_table(tmp_path / name, shift) for shift, name in enumerate(("my.csv", "b.csv"))]
    sweep = ("-m", "data=csv", "data.path=my.csv,b.csv", *OWN[2:])
    assert command(*sweep).code == 0
    frame = read_study(tmp_path / "outputs" / "s")
    assert dict(zip(frame["data.path"], frame["data_digest"], strict=True)) == dict(
        zip(("my.csv", "b.csv"), digests, strict=True)
    )
    now = write_table(tmp_path / "my.csv", shift=2)
    for arguments in (sweep, OWN):
        done = command(*arguments)
        assert done.code == 3
        assert said(digests[0], now) in done.err
    write_table(tmp_path / "my.csv")
    shutil.copy(tmp_path / "b.csv", tmp_path / "c.csv")
    assert command("-m", "data=csv", "data.path=my.csv,b.csv,c.csv", *OWN[2:]).code == 0


def test_b17_another_file_enters_only_where_files_are_swept(command: Command, tmp_path: Path) -> None:
    before, other = write_table(tmp_path / "my.csv"), write_table(tmp_path / "b.csv", shift=1)
    assert command(*SCALINGS).code == 0
    done = command("-m", "data.scaling=none,standard", "data=csv", "data.path=b.csv", *OWN[2:])
    assert done.code == 3
    assert before[:12] in done.err
    assert other[:12] in done.err
    assert command("-m", "data=csv", "data.path=my.csv,b.csv", "data.scaling=none", *OWN[2:]).code == 0
    assert set(read_study(tmp_path / "outputs" / "s")["data_digest"]) == {before, other}


def test_b17_no_changed_file_enters_a_study_without_its_manifest(command: Command, tmp_path: Path) -> None:
    before = write_table(tmp_path / "my.csv")
    assert command(*SCALINGS).code == 0
    manifests = list((tmp_path / "outputs" / "s").rglob("manifest.json"))
    for manifest in manifests:
        manifest.unlink()
    now = write_table(tmp_path / "my.csv", shift=1)
    done = command(*SCALINGS)
    assert done.code == 3
    assert said(before, now) in done.err
    assert manifests
    assert not any(manifest.exists() for manifest in manifests)
    write_table(tmp_path / "my.csv")
    assert "0 to train" in command(*SCALINGS).err


def test_b16_a_moved_file_and_a_moved_study_go_on(command: Command, tmp_path: Path) -> None:
    write_table(tmp_path / "my.csv")
    assert command(*SCALINGS).code == 0
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "my.csv", tmp_path / "elsewhere" / "renamed.csv")
    shutil.move(tmp_path / "outputs" / "s", tmp_path / "outputs" / "moved")
    again = command(*SCALINGS, "data.path=elsewhere/renamed.csv", "study=moved")
    assert again.code == 0
    assert "0 to train" in again.err


def _change_after(path: Path, n_stacks: int) -> None:
    """Change the data file once so many stacks have been trained."""
    from pima_hp.training.fused import engine

    real: Callable[..., object] = engine.fit_stack
    calls = iter(range(1000))

    def fit_stack(*arguments: object) -> object:
        if next(calls) == n_stacks:
            write_table(path, shift=1)
        return real(*arguments)

    engine.fit_stack = fit_stack  # type: ignore[assignment]


def test_b17_a_file_that_changes_during_a_sweep_ends_it(tmp_path: Path) -> None:
    before = write_table(tmp_path / "my.csv")
    sweep = ("-m", "activation=relu,tanh", *OWN)
    ended = commands.run(tmp_path, *sweep, prepare=functools.partial(_change_after, tmp_path / "my.csv", 1))
    assert ended.code == 3
    assert said(before, read_table(section(tmp_path / "my.csv")).digest) in ended.err
    frame = read_study(tmp_path / "outputs" / "s")
    assert frame[["activation", "status", "data_digest"]].to_numpy().tolist() == [["relu", "completed", before]]
    write_table(tmp_path / "my.csv")
    assert commands.run(tmp_path, *sweep).code == 0


def _change_after_the_check(path: Path) -> None:
    """Change the data file when the command has checked and planned its jobs, before workers compose them again."""
    from pima_hp.commands.hydra_callback import StudyCallback

    real = StudyCallback.on_sweep_start

    def on_sweep_start(self: StudyCallback, *arguments: Any) -> list[int]:
        kept = real(self, *arguments)
        write_table(path, shift=1)
        return kept

    StudyCallback.on_sweep_start = on_sweep_start  # type: ignore[method-assign]


def test_b17_worker_processes_refuse_a_file_that_changed_after_the_sweep_was_planned(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    before = write_table(tmp_path / "my.csv")
    sweep = (*SCALINGS, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    ended = commands.run(tmp_path, *sweep, prepare=functools.partial(_change_after_the_check, tmp_path / "my.csv"))
    now = read_table(section(tmp_path / "my.csv")).digest
    assert before != now
    assert (ended.code, said(before, now) in ended.err) == (3, True), ended.err
    assert len(read_study(tmp_path / "outputs" / "s")) == 0
