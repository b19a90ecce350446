"""The command line as users of Lightning and Hydra write it: what works, and what is refused in one line."""

import pickle
from pathlib import Path

import pytest
import torch

from pima_hp.commands.exits import printable
from pima_hp.ledger import read_study
from tests.conftest import Command

QUICK = ("trainer.max_epochs=2", "batch=full", "study=s")


@pytest.mark.parametrize(
    "own",
    [
        ("+trainer.gradient_clip_val=1.0",),
        ("+trainer.limit_train_batches=0.5", "batch=b32"),
        ("+trainer.accumulate_grad_batches=2", "batch=b32"),
        ("callbacks=early_stopping", "callbacks.early_stopping.patience=3"),
        ("trainer.precision=64",),
        ("trainer.precision=bf16-mixed",),
        ("logger=csv",),
        ("callbacks=none",),
        ("callbacks.progress_bar=null",),
    ],
    ids=" ".join,
)
def test_what_lightning_users_write_is_trained_by_lightning_and_recorded(
    command: Command, tmp_path: Path, own: tuple[str, ...]
) -> None:
    done = command(*QUICK, *own)
    assert done.code == 0, done.err
    (row,) = read_study(tmp_path / "outputs" / "s").to_dict("records")
    assert (row["engine"], row["status"]) == ("solo", "completed")
    assert "nothing to train" in command(*QUICK, *own).err


def test_a_callback_that_stops_a_run_early_gives_it_a_status_of_its_own(command: Command, tmp_path: Path) -> None:
    own = ("callbacks=early_stopping", "callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=9.0")
    done = command(*own, "n_replicates=2", "trainer.max_epochs=9", "batch=full", "study=s")
    assert done.code == 0, done.err
    frame = read_study(tmp_path / "outputs" / "s")
    assert frame["status"].tolist() == ["stopped early"] * 2
    assert frame["stop_epoch"].tolist() == frame["n_updates"].tolist() == [2, 2]
    assert set(frame["engine"]) == {"solo"}
    assert set(frame["callbacks.early_stopping.patience"]) == {1}
    (log,) = (tmp_path / "outputs" / "s").rglob("*.log")
    assert "EarlyStopping" in log.read_text(), "the log says why"


def test_control_characters_do_not_reach_the_terminal(command: Command) -> None:
    done = command("data.label='\x1b]0;title\x07'", *QUICK)
    assert done.code == 2
    assert "\x1b" not in done.err
    assert printable("a\x1b[31m\u202eb\nc") == "a\\x1b[31m\\u202eb\nc"


def test_a_checkpoint_is_tested_and_continued_but_not_recorded(command: Command, tmp_path: Path) -> None:
    assert command(*QUICK).code == 0
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    parts = sorted(tmp_path.rglob("*.parquet"))
    tested = command("train=false", "test=true", f"ckpt_path={checkpoint}", *QUICK)
    assert tested.code == 0, tested.err
    assert "test/accuracy" in tested.out
    for differs, name in {
        "data.scaling=standard": "data.scaling",
        "seed=3": "data.split_seed",
        "activation=tanh": "model",
        "data.test_fraction=0.3": "data.test_fraction",
    }.items():
        other = command("train=false", "test=true", f"ckpt_path={checkpoint}", differs, *QUICK)
        assert other.code == 2
        assert other.refusals == [f"ckpt_path: must be of a run with the same settings; found others: {name}"]
    for differs in ("optimizer.lr=0.5", "optimizer=adam", "scheduler=cosine", "seed=4", "trainer.precision=64"):
        assert command(f"ckpt_path={checkpoint}", "trainer.max_epochs=4", differs, *QUICK[1:]).code == 2
    done = command(f"ckpt_path={checkpoint}", *QUICK)
    assert done.refusals == ["trainer.max_epochs: must be above the 2 epochs of the checkpoint; found 2"]
    continued = command(f"ckpt_path={checkpoint}", "trainer.max_epochs=4", *QUICK[1:])
    assert continued.code == 0, continued.err
    assert "not recorded" in continued.err
    assert sorted(tmp_path.rglob("*.parquet")) == parts


BAD_FILES = {
    "empty": b"", "text": b"no checkpoint", "pickle": pickle.dumps({"a": print}), "list": None, "directory": None,
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("how", [(), ("train=false", "test=true")], ids=["continued", "tested"])
def test_a_file_that_is_no_checkpoint_is_refused_in_one_line(
    command: Command, tmp_path: Path, kind: str, how: tuple[str, ...]
) -> None:
    path = tmp_path / "x.ckpt"
    if kind == "directory":
        path.mkdir()
    elif kind == "list":
        torch.save([1, 2], path)
    else:
        path.write_bytes(BAD_FILES[kind] or b"")
    done = command(*how, f"ckpt_path={path}", *QUICK)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()
