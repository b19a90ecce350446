"""A6, A7: asked to stop, a command stops at once, says how to resume, and the next one goes on."""

import functools
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults import studies
from tests.faults.commands import Command, Ended, run, wait_for
from tests.faults.kills import SWEEP, Uninterrupted
from tests.faults.points import POINTS, Point, at, let, signalled

INT, TERM = signal.SIGINT, signal.SIGTERM
LONG = ("trainer.max_epochs=100000", "study=s")
ENGINES = {
    "fused": ("-m", "engine=fused", "n_replicates=2", *LONG),
    "stacked": ("-m", "engine=stacked", "n_replicates=2", *LONG),
    "solo": ("engine=solo", *LONG),
    "one run": LONG,
}
SOLO_EPOCH = Point("pima_hp.model.module:MLPClassifier.on_train_epoch_end", "after")


def _stopped_well(ended: Ended, signum: int, folder: Path) -> None:
    assert ended.code == 128 + signum, ended
    (line,) = [line for line in ended.err.splitlines() if line.startswith("stopped by")]
    assert line.startswith(f"stopped by {signal.Signals(signum).name}: ")
    assert "pima-hp-train " in line.partition("to resume: ")[2]
    assert "Traceback" not in ended.err
    assert not studies.leftovers(folder / "outputs" / "s")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("signum", [INT, TERM])
def test_a6_a7_in_a_run_of_any_engine(tmp_path: Path, engine: str, signum: int) -> None:
    marker = tmp_path / "training"
    points = {
        "fused": POINTS["in-stack"],
        "stacked": Point("pima_hp.training.stacked:StackedClassifier.score_epoch", "after"),
    }
    epoch = points.get(engine, SOLO_EPOCH)
    command = Command(tmp_path, *ENGINES[engine], prepare=functools.partial(let, epoch, marker.touch, 3))
    wait_for(marker.exists)
    began = time.monotonic()
    command.send(signum)
    ended = command.end()
    assert time.monotonic() - began < 5
    _stopped_well(ended, signum, tmp_path)
    assert "0 of" in ended.err


def test_a6_what_lightning_had_logged_of_a_run_that_was_stopped_is_not_shown_beside_the_finished_one(
    tmp_path: Path,
) -> None:
    run_alone = ("trainer.max_epochs=20", "study=s")
    stopped = run(tmp_path, *run_alone, "engine=solo", prepare=functools.partial(let, SOLO_EPOCH, signalled(TERM), 9))
    _stopped_well(stopped, TERM, tmp_path)
    (begun,) = tmp_path.rglob("*tfevents*")
    for engine in ("solo", "fused"):
        study = f"study={engine}"
        shutil.copytree(tmp_path / "outputs" / "s", tmp_path / "outputs" / engine)
        assert run(tmp_path, *run_alone, f"engine={engine}", study).code == 0
        found = list((tmp_path / "outputs" / engine).rglob("*tfevents*"))
        assert {path.parent.name for path in found} == {begun.parent.name}
        assert begun.name not in {path.name for path in found}


@pytest.mark.parametrize("signum", [INT, TERM])
def test_a6_a7_between_runs_and_the_command_that_is_named_goes_on(
    tmp_path: Path, uninterrupted: Uninterrupted, signum: int
) -> None:
    ended = run(tmp_path, *SWEEP, prepare=at("after-part", signalled(signum), 3))
    _stopped_well(ended, signum, tmp_path)
    assert len(studies.parts(tmp_path / "outputs" / "s")) == 3
    assert "6 of 32 runs are in outputs/s/ledger" in ended.err
    name, *arguments = shlex.split(ended.err.partition("to resume: ")[2])
    assert name == "pima-hp-train"
    assert run(tmp_path, *arguments).code == 0
    assert studies.published(tmp_path / "outputs" / "s") == uninterrupted.published


@pytest.mark.parametrize("signum", [INT, TERM])
def test_a6_a7_while_a_stack_is_recorded_it_is_recorded(tmp_path: Path, signum: int) -> None:
    ended = run(tmp_path, *SWEEP, prepare=at("part-before-write", signalled(signum), 3))
    _stopped_well(ended, signum, tmp_path)
    assert studies.rows(tmp_path / "outputs" / "s").total() == 6


def test_a7_a_study_without_a_name_gets_it_in_the_command_to_go_on(tmp_path: Path) -> None:
    sweep = [argument for argument in SWEEP if not argument.startswith("study=")]
    ended = run(tmp_path, *sweep, "outputs=here there", prepare=at("after-part", signalled(INT)))
    _, *arguments = shlex.split(ended.err.partition("to resume: ")[2])
    assert run(tmp_path, *arguments).code == 0
    (study,) = (tmp_path / "here there").iterdir()
    assert studies.rows(study).total() == 32


def test_a7_the_second_ctrl_c_ends_the_command_at_once(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    marker = tmp_path / "closing"
    command = Command(tmp_path, *SWEEP, prepare=functools.partial(_stopped_but_stuck, marker))
    wait_for(marker.exists)
    assert command.running
    began = time.monotonic()
    command.send(INT)
    assert command.end().code == -INT
    assert time.monotonic() - began < 1
    assert run(tmp_path, *SWEEP).code == 0
    assert studies.published(tmp_path / "outputs" / "s") == uninterrupted.published


def _stopped_but_stuck(marker: Path) -> None:
    at("after-part", signalled(INT), 3)()
    let(Point("pathlib:Path.unlink", "before", ".owner"), functools.partial(_stuck, marker), 2)  # 1: a temporary file


def _stuck(marker: Path) -> None:
    marker.touch()
    time.sleep(60)


@pytest.mark.parametrize("point", [Point("pima_hp.commands.hydra_callback:checked", "before"), POINTS["in-stack"]])
def test_a6_a7_in_the_midst_of_a_clean_up_that_then_raises_an_error_of_its_own(tmp_path: Path, point: Point) -> None:
    ended = run(tmp_path, *SWEEP, prepare=functools.partial(let, point, _signalled_in_a_clean_up))
    _stopped_well(ended, TERM, tmp_path)


def _signalled_in_a_clean_up() -> None:
    try:
        signalled(TERM)()
    finally:
        raise AttributeError("half restored")


def test_a6_a7_where_python_ignores_errors(tmp_path: Path) -> None:
    """In a destructor, or in a function that C calls."""
    _stopped_well(run(tmp_path, *SWEEP, prepare=at("in-stack", _signalled_in_a_destructor)), TERM, tmp_path)


def _signalled_in_a_destructor() -> None:
    class Passing:
        def __del__(self) -> None:
            signalled(TERM)()

    Passing()
    time.sleep(1)  # somewhere in here the signal comes again


@pytest.mark.parametrize("n_moments", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_a6_a7_at_any_moment(tmp_path: Path, uninterrupted: Uninterrupted, n_moments: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 -- shown when the test fails
    moments = random.Random(seed)  # noqa: S311
    for number in range(n_moments):
        folder = tmp_path / str(number)
        folder.mkdir()
        signum = moments.choice([INT, TERM])
        command = Command(folder, *SWEEP)
        wait_for(lambda command=command: command.begun)
        if (ended := command.wait(moments.uniform(0, uninterrupted.seconds))) is None:
            command.send(signum)
            ended = command.end()
        assert "Traceback" not in ended.err, ended
        assert ended.code in (0, 128 + signum, -signum), ended  # -signum: before the command could listen
        if ended.code == 128 + signum:
            _stopped_well(ended, signum, folder)
        assert run(folder, *SWEEP).code == 0
        assert studies.published(folder / "outputs" / "s") == uninterrupted.published


def test_a1_a6_the_command_as_a_person_types_it(tmp_path: Path, uninterrupted: Uninterrupted) -> None:
    """Without a fork: killed after its first part, then asked to stop after another, then left alone."""
    study = tmp_path / "outputs" / "s"
    for signum, code in ((signal.SIGKILL, -signal.SIGKILL), (TERM, 143), (None, 0)):
        before = len(studies.parts(study))
        program = [str(Path(sys.executable).parent / "pima-hp-train"), *SWEEP]
        with subprocess.Popen(program, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            if signum:
                wait_for(lambda before=before: len(studies.parts(study)) > before)
                process.send_signal(signum)
            _, said = process.communicate(timeout=120)
        assert process.returncode == code, said
    assert studies.rows(study).total() == 32
    assert studies.published(study) == uninterrupted.published
    assert not studies.leftovers(study)
