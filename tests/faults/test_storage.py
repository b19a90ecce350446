"""B1, B4, B6, B7: full disks, wrong folders, and several commands at once."""

import functools
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pima_hp.ledger import read_study
from tests.faults import studies
from tests.faults.commands import Command, Ended, run, wait_for
from tests.faults.kills import SWEEP, Uninterrupted
from tests.faults.points import at, signalled

SMALL = ("-m", "activation=relu,tanh", "trainer.max_epochs=2", "engine.stack_size=2", "n_replicates=4")


def _limited(n_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


def _one_line_names(ended: Ended, *words: str) -> None:
    assert ended.code == 4, ended
    assert "Traceback" not in ended.err + ended.out, ended
    (line,) = [line for line in ended.err.splitlines() if "the system says" in line]
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("n_bytes", "name"),
    [(1_000, "outputs/s"), (8_000, ".parquet' must be readable"), (15_000, "runs.csv")],
)
def test_b1_a_file_that_cannot_grow_is_one_line_and_the_next_command_goes_on(
    tmp_path: Path, uninterrupted: Uninterrupted, n_bytes: int, name: str
) -> None:
    run(tmp_path, *SWEEP, prepare=at("part-before-write", signalled(), 3))
    study = tmp_path / "outputs" / "s"
    before = studies.parts(study)
    _one_line_names(run(tmp_path, *SWEEP, prepare=functools.partial(_limited, n_bytes)), "File too large", name)
    found = studies.parts(study)
    assert found.items() >= before.items()
    assert len(read_study(study)) == studies.rows(study).total() == 2 * len(found)
    assert run(tmp_path, *SWEEP).code == 0
    assert studies.published(study) == uninterrupted.published


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB, where mounting is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"mounting is not allowed here: {mount.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_b1_a_full_disk_is_one_line_and_the_next_command_goes_on(
    tmp_path: Path, small_disk: Path, uninterrupted: Uninterrupted
) -> None:
    (small_disk / "ballast").write_bytes(bytes(20_000))
    sweep = (*SWEEP, f"outputs={small_disk}")
    _one_line_names(run(tmp_path, *sweep), "No space left", str(small_disk / "s" / "ledger"))
    recorded = studies.parts(small_disk / "s")
    assert recorded
    assert not list((small_disk / "s").rglob("*.tmp"))
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert run(tmp_path, *sweep).code == 0
    assert studies.parts(small_disk / "s").items() >= recorded.items()
    assert studies.published(small_disk / "s") == uninterrupted.published


def test_b4_outputs_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("mine")
    for arguments in (SMALL, ("trainer.max_epochs=2",)):
        _one_line_names(run(tmp_path, *arguments), "outputs")
    assert (tmp_path / "outputs").read_text() == "mine"


def test_b4_a_path_that_is_too_long(tmp_path: Path) -> None:
    for arguments in (SMALL, ("trainer.max_epochs=2",)):
        _one_line_names(run(tmp_path, *arguments, f"outputs={'x' * 300}"), "x" * 300, "File name too long")
        _one_line_names(run(tmp_path, *arguments, f"outputs={'y/' * 3000}"), "File name too long")
    assert not list(tmp_path.glob("[!.]*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_b4_a_read_only_folder(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir(mode=0o500)
    _one_line_names(run(tmp_path, *SMALL), "outputs", "Permission denied")


def test_b4_a_folder_that_is_removed_while_the_sweep_runs(tmp_path: Path) -> None:
    study = tmp_path / "outputs" / "s"
    ended = run(
        tmp_path, *SMALL, "study=s", prepare=at("part-before-write", functools.partial(shutil.rmtree, study), 2)
    )
    assert ended.code == 4, ended
    assert "Traceback" not in ended.err


def test_b6_of_two_sweeps_in_a_folder_one_runs_and_the_other_is_refused(
    tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    both = [Command(tmp_path, *SWEEP) for _ in range(2)]
    codes = {command.end().code: command.end() for command in both}
    assert set(codes) == {0, 3}, codes
    assert f"outputs/s' must have one sweep at a time; it is held by process {_pid_of(both)} on " in codes[3].err
    assert ", since 2" in codes[3].err
    assert studies.rows(tmp_path / "outputs" / "s").total() == 32
    assert studies.published(tmp_path / "outputs" / "s") == uninterrupted.published


def test_b6_a_sweep_on_a_busy_study_is_refused_at_once(tmp_path: Path) -> None:
    first = Command(tmp_path, *SWEEP, "trainer.max_epochs=100000")
    wait_for((tmp_path / "outputs" / "s" / "manifest.json").exists)
    second = run(tmp_path, *SWEEP)
    assert second.code == 3
    assert second.seconds < 10, "less than a second beyond the start, when nothing else uses the machine"
    first.send(15)
    assert first.end().code == 143


def _pid_of(commands: list[Command]) -> int:
    return next(command.pid for command in commands if command.end().code == 0)


def test_b7_commands_of_one_second_without_a_name_have_a_folder_each(tmp_path: Path) -> None:
    commands = [Command(tmp_path, *SMALL) for _ in range(5)]
    commands += [Command(tmp_path, f"seed={seed}", "trainer.max_epochs=1") for seed in range(3)]
    assert [command.end().code for command in commands] == [0] * 8
    folders = list((tmp_path / "outputs").iterdir())
    assert sorted(len(read_study(folder)) for folder in folders) == [1] * 3 + [8] * 5
