"""A10: whatever a run raises is the end of that run, not of the sweep."""

import functools
import os
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from pima_hp.commands import train
from pima_hp.errors import StudyError
from pima_hp.ledger import read_study
from pima_hp.ledger.files import study_lock
from tests.conftest import settings_of
from tests.faults.commands import run

SWEEPS = {
    engine: ("-m", f"engine={engine}", "trainer.max_epochs=2", "n_replicates=4", "study=s")
    for engine in ("fused", "stacked", "solo")
}
BAD_SEED = 2


def _bad(error: BaseException) -> None:
    """Let every run of one seed raise in its training, in whatever company."""
    from pima_hp.model.module import MLPClassifier
    from pima_hp.training import solo, stacked
    from pima_hp.training.fused.stack import Stack

    real_epoch, real_module, real_end = Stack.train_epochs, solo.module_of, MLPClassifier.on_train_epoch_end
    real_stack = stacked.fit_stack
    in_training: list[int] = []

    def train_epochs(self: Stack, count: int = 1) -> None:
        real_epoch(self, count)
        if any(run.seeds.seed == BAD_SEED for run in self.runs):
            raise error

    def module_of(config: Any, data: Any, init_seed: int) -> Any:
        in_training.append(init_seed)
        return real_module(config, data, init_seed)

    def on_train_epoch_end(self: MLPClassifier) -> None:
        real_end(self)
        if in_training[-1] == BAD_SEED:
            raise error

    def fit_stack(runs: Any, progress: Any) -> Any:
        if any(run.seeds.seed == BAD_SEED for run in runs):
            raise error
        return real_stack(runs, progress)

    Stack.train_epochs = train_epochs  # type: ignore[method-assign]
    solo.module_of, stacked.fit_stack = module_of, fit_stack
    MLPClassifier.on_train_epoch_end = on_train_epoch_end  # type: ignore[method-assign]


ERRORS = (SystemExit(0), SystemExit(3), SystemExit(), GeneratorExit())


@pytest.mark.parametrize(
    ("engine", "error"),
    [*(("fused", error) for error in ERRORS), ("stacked", SystemExit(3)), ("solo", SystemExit(0))],
    ids=repr,
)
def test_a10_a_run_that_raises_has_failed_and_the_others_finish(
    tmp_path: Path, engine: str, error: BaseException
) -> None:
    ended = run(tmp_path, *SWEEPS[engine], prepare=functools.partial(_bad, error))
    assert ended.code == 1, ended
    assert "trained 4 runs" in ended.err
    assert "1 run failed; the first: " + type(error).__name__ in ended.err
    frame = read_study(tmp_path / "outputs" / "s").set_index("seed")
    assert frame["status"].to_dict() == {0: "completed", 1: "completed", BAD_SEED: "failed", 3: "completed"}
    assert frame.loc[BAD_SEED, "message"].startswith(type(error).__name__)
    ended = run(tmp_path, *SWEEPS[engine])
    assert ended.code == 0
    assert "3 of 4 runs are in the ledger; 1 to train" in ended.err
    assert set(read_study(tmp_path / "outputs" / "s")["status"]) == {"completed"}


@pytest.mark.parametrize("engine", ["auto", "solo"])
def test_a10_one_run_that_raises_has_failed_and_leaves_no_curves(tmp_path: Path, engine: str) -> None:
    one = (f"seed={BAD_SEED}", "trainer.max_epochs=2", f"engine={engine}", "study=s")
    ended = run(tmp_path, *one, prepare=functools.partial(_bad, ValueError("planted")))
    assert ended.code == 1, ended
    assert "1 run failed; the first: ValueError: planted" in ended.err
    (row,) = read_study(tmp_path / "outputs" / "s").to_dict("records")
    assert (row["status"], row["engine"]) == ("failed", "")
    logged = set(tmp_path.rglob("*tfevents*"))
    assert logged, "Lightning logs while it trains"
    assert run(tmp_path, *one).code == 0
    assert read_study(tmp_path / "outputs" / "s")["status"].tolist() == ["completed"]
    assert list(tmp_path.rglob("*tfevents*"))
    assert not logged & set(tmp_path.rglob("*tfevents*")), "no curve is there twice"


@pytest.mark.parametrize("engine", SWEEPS)
def test_a10_a_keyboard_interrupt_raised_by_a_run_stops_the_command(tmp_path: Path, engine: str) -> None:
    ended = run(tmp_path, *SWEEPS[engine], prepare=functools.partial(_bad, KeyboardInterrupt()))
    assert ended.code == 130, ended
    assert "to resume: pima-hp-train -m" in ended.err
    assert "Traceback" not in ended.err
    assert run(tmp_path, *SWEEPS[engine]).code == 0


def _leave() -> None:
    """Let the process end without a word when the first stack of the second activation begins."""
    from pima_hp.training.fused.stack import Stack

    real = Stack.train_epochs

    def train_epochs(self: Stack, count: int = 1) -> None:
        if self.runs[0].config.flat["activation"] == "tanh" and len(self.runs) == 4:  # not the kernel's own check
            os._exit(9)
        real(self, count)

    Stack.train_epochs = train_epochs  # type: ignore[method-assign]


def test_a10_a_process_that_is_gone_at_once_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    sweep = ("-m", "activation=relu,tanh", "trainer.max_epochs=2", "n_replicates=4", "study=s")
    assert run(tmp_path, *sweep, prepare=_leave).code == 9
    assert set(read_study(tmp_path / "outputs" / "s")["activation"]) == {"relu"}
    ended = run(tmp_path, *sweep)
    assert ended.code == 0
    assert "4 of 8 runs are in the ledger; 4 to train" in ended.err


def test_success_is_counted_by_the_runs_asked_for(tmp_path: Path) -> None:
    sweep = SWEEPS["fused"]
    assert run(tmp_path, *sweep, prepare=functools.partial(_bad, ValueError("planted"))).code == 1
    ended = run(tmp_path, "seed=0", "trainer.max_epochs=2", "study=s")
    assert ended.code == 0, "another run of the same configuration has failed, not this one"
    assert "failed" not in ended.err


def test_a_worker_whose_study_another_command_holds_records_nothing(tmp_path: Path) -> None:
    study, own = tmp_path / "outputs" / "s", ("trainer.max_epochs=2", "study=s", "callbacks=none", "logger=none")
    config = OmegaConf.create(settings_of(*own, f"outputs={study.parent}", "command='1-ab'"))
    with study_lock(study, "2-cd"), pytest.raises(StudyError, match="must be held by this command"):
        train(config)
    assert not list(study.rglob("*.parquet"))
    with study_lock(study, "1-ab"):
        train(config)
    assert len(read_study(study)) == 1
