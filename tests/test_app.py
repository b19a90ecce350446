"""The command as a person uses it: single runs, sweeps, going on with a study, plans (FAULTS A11, B7, D8, D14)."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from pima_hp.commands import report as reporting
from pima_hp.commands.hydra_callback import name_study
from pima_hp.commands.main import job_folder
from pima_hp.commands.study import mean_score
from pima_hp.errors import StudyError
from pima_hp.ledger import Ledger, read_study
from pima_hp.training.solo import fit
from tests.conftest import ROOT, Command, job_of
from tests.ledger.conftest import OLDER, restamp

QUICK = ("trainer.max_epochs=2", "batch=full")


def studies(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "outputs").iterdir() if path.is_dir())


def state_of(folder: Path) -> dict[str, tuple[int, str]]:
    """Each file with its time and the digest of its content, but for the empty lock."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.name != ".lock"
    }


def test_a_single_run_does_what_it_says(command: Command, tmp_path: Path) -> None:
    done = command("optimizer=adam", "batch=b32", "activation=tanh", "seed=3", "trainer.max_epochs=3")
    assert done.code == 0
    assert "trained 1 run" in done.err
    (study,) = studies(tmp_path)
    (row,) = read_study(study).to_dict("records")
    assert (row["optimizer"], row["activation"], row["batch.size"], row["seed"]) == ("adam", "tanh", 32, 3)
    assert (row["status"], row["n_updates"], len(row["val/accuracy"])) == ("completed", 3 * 20, 3)
    (folder,) = (study / "tensorboard").glob("*/")
    assert folder.name.startswith("tanh, adam, ")
    assert f"tensorboard --logdir {study.relative_to(tmp_path) / 'tensorboard'}" in done.err


def test_a_sweep_does_what_it_says(command: Command, tmp_path: Path) -> None:
    done = command("-m", "batch.size=5,10", "activation=relu,tanh", "seed=0,1", "trainer.max_epochs=1", "study=s")
    assert done.code == 0
    assert "trained 8 runs" in done.err
    frame = read_study(tmp_path / "outputs" / "s")
    found = set(zip(frame["batch.size"], frame["activation"], frame["seed"], strict=True))
    assert found == {(size, name, seed) for size in (5, 10) for name in ("relu", "tanh") for seed in (0, 1)}
    assert frame["config_id"].nunique() == 4
    jobs = {path.name for path in (tmp_path / "outputs" / "s" / "jobs").iterdir()}
    assert len(jobs) == 8
    assert "activation=relu,batch.size=5,seed=0,trainer.max_epochs=1" in jobs
    folders = {path.parent.name for path in (tmp_path / "outputs" / "s" / "tensorboard").rglob("events*")}
    assert folders == {f"batch {size}, {name}" for size in (5, 10) for name in ("relu", "tanh")}
    assert all(f"{size}  " in done.out for size in (5, 10))


def test_a11_a_finished_sweep_is_left_as_it_is(command: Command, tmp_path: Path) -> None:
    arguments = ("-m", "activation=relu,tanh", "n_replicates=2", "study=s", *QUICK)
    first = command(*arguments)
    before = state_of(tmp_path)
    again = command(*arguments)
    assert (first.code, again.code) == (0, 0)
    assert "4 of 4 runs are in the ledger; 0 to train" in again.err
    assert "nothing to train" in again.err
    assert again.out == first.out
    assert state_of(tmp_path) == before


def test_more_replicates_and_more_values_train_what_is_missing(command: Command, tmp_path: Path) -> None:
    study = tmp_path / "outputs" / "s"
    command("-m", "activation=relu,tanh", "n_replicates=2", "study=s", *QUICK)
    first = read_study(study).set_index("run_id")
    parts = {path.name for path in (study / "ledger").glob("*.parquet")}
    more = command("-m", "activation=relu,tanh,sigmoid", "n_replicates=3", "study=s", *QUICK)
    assert more.code == 0
    assert "4 of 9 runs are in the ledger; 5 to train" in more.err
    assert "trained 5 runs" in more.err
    extended = read_study(study).set_index("run_id")
    assert len(extended) == 9
    assert parts < {path.name for path in (study / "ledger").glob("*.parquet")}
    for run_id, row in first.iterrows():
        assert extended.loc[run_id, "val/loss"].tolist() == row["val/loss"].tolist()


def test_a_single_run_joins_the_study_of_a_sweep(command: Command, tmp_path: Path) -> None:
    command("-m", "activation=relu,tanh", "n_replicates=2", "study=s", *QUICK)
    again = command("activation=tanh", "seed=1", "study=s", *QUICK)
    assert again.code == 0
    assert "nothing to train" in again.err
    other = command("activation=tanh", "seed=2", "study=s", *QUICK)
    assert "trained 1 run" in other.err
    assert len(read_study(tmp_path / "outputs" / "s")) == 5


def test_d14_another_meaning_is_refused_with_a_diff(command: Command, tmp_path: Path) -> None:
    command("-m", "activation=relu,tanh", "study=s", *QUICK)
    before = state_of(tmp_path)
    for arguments in (["-m", "activation=relu,tanh"], ["activation=relu"]):
        done = command(*arguments, "study=s", "batch=full", "trainer.max_epochs=3")
        assert done.code == 3
        assert "trainer.max_epochs: 2 -> 3" in done.err
        assert "study=OTHER" in done.err
        assert "Traceback" not in done.err
    other_table = tmp_path / "other.csv"
    rows = "".join(f"{n},{(7 * n) % 13},{n % 2}\n" for n in range(40))
    other_table.write_text("a,b,outcome\n" + rows, encoding="utf-8")
    own = ["data=csv", f"data.path={other_table}"]
    done = command("-m", "activation=relu,tanh", *own, "study=s", *QUICK)
    assert done.code == 3
    assert "data_digest: c62fdc4685d8" in done.err
    other_table.unlink()
    assert state_of(tmp_path) == before


@pytest.mark.parametrize("files", ["parts", "manifest"])
def test_b12_a_study_of_an_earlier_version_is_refused_by_every_command(
    command: Command, tmp_path: Path, capfd: pytest.CaptureFixture[str], files: str
) -> None:
    for name in ("old", "new"):
        assert command("n_replicates=2", f"study={name}", *QUICK).code == 0
    run_id = read_study(tmp_path / "outputs" / "old")["run_id"].iloc[0]
    restamp(tmp_path / "outputs" / "old", 1, parts=files == "parts", manifest=files == "manifest")
    before = state_of(tmp_path)
    told = OLDER.format(study=Path("outputs") / "old")
    for more in (
        ("n_replicates=3",), ("-m", "seed=0,1"), ("dry_run=true",), (f"export={run_id}",), ("report=true",),
        ("-m", "hydra/sweeper=basic", "seed=0,1"), ("engine=solo",),
    ):  # fmt: skip
        done = command(*more, "study=old", *QUICK)
        assert (done.code, done.out, done.err) == (3, "", f"{told}\n"), more
        after = {name: state for name, state in state_of(tmp_path).items() if name in before}
        assert after == before
    for arguments in (["old"], ["new", "--compare", "old"]):
        assert reporting.run(arguments) == 3
        assert capfd.readouterr().err == f"{told}\n"
    with pytest.raises(StudyError, match="must be of format"):
        read_study(tmp_path / "outputs" / "old")


def test_a_run_that_was_stopped_early_is_not_trained_again(command: Command, tmp_path: Path) -> None:
    own = ("study=s", "trainer.max_epochs=4", "batch=full")
    (run,) = job_of(*own).runs
    study = tmp_path / "outputs" / "s"
    Ledger(study).append(fit(run, max_steps=3)[0])
    ledger = state_of(study)
    done = command(*own, "n_replicates=2")
    assert done.code == 0
    assert "trained 1 run; 1 stopped early\n" in done.err
    assert ledger.items() <= state_of(study).items()
    rows = pd.read_csv(study / "runs.csv").set_index("seed")
    assert rows["status"].to_dict() == {0: "stopped early", 1: "completed"}
    assert rows[["stop_epoch", "n_updates"]].to_numpy().tolist() == [[3, 3], [0, 4]]
    last = read_study(study).set_index("seed")["val/accuracy"]
    mean = mean_score(study, job_of(*own, "n_replicates=2").runs)
    assert mean == pytest.approx((last[0][2] + last[1][3]) / 2), "each run's last epoch"


def test_d8_duplicates_are_trained_once(command: Command, tmp_path: Path) -> None:
    done = command("-m", "batch=b32,b32", "batch.size=32", "optimizer.lr=0.001,1e-3", "trainer.max_epochs=1", "study=s")
    assert done.code == 0
    assert "trained 1 run" in done.err
    assert len(read_study(tmp_path / "outputs" / "s")) == 1


def test_d8_a_sweep_of_one_job(command: Command, tmp_path: Path) -> None:
    done = command("-m", "activation=tanh", "study=s", *QUICK)
    assert done.code == 0
    assert "trained 1 run" in done.err
    assert read_study(tmp_path / "outputs" / "s")["activation"].tolist() == ["tanh"]


@pytest.mark.parametrize("sweep", [(), ("-m",)])
def test_a_dry_run_prints_the_plan_and_writes_nothing(command: Command, tmp_path: Path, sweep: tuple[str, ...]) -> None:
    values = ("activation=relu,tanh", "n_replicates=70") if sweep else ("n_replicates=70",)
    done = command(*sweep, *values, "dry_run=true", "study=s", "engine.stack_size=64", *QUICK)
    assert done.code == 0
    n_configurations = 2 if sweep else 1
    assert re.search(rf"configurations +{n_configurations}: ", done.out)
    assert re.search(rf"runs +{70 * n_configurations}, of which 0 are in the ledger", done.out)
    assert re.search(rf"fused +{70 * n_configurations} runs in {2 * n_configurations} stacks", done.out)
    assert list(tmp_path.iterdir()) == []


def test_any_run_can_be_written_for_tensorboard_alone(command: Command, tmp_path: Path) -> None:
    study = tmp_path / "outputs" / "s"
    command("-m", "activation=relu,tanh", "n_replicates=2", "study=s", *QUICK)
    run_id = read_study(study)["run_id"].iloc[3]
    before = set(study.rglob("events*"))
    done = command("activation=tanh", "study=s", f"export={run_id}", *QUICK)
    assert done.code == 0, done.err
    (new,) = set(study.rglob("events*")) - before
    assert new.parent.name.endswith(run_id[:12])
    assert "trained" not in done.err
    for digits in ("123456", "4e12"):  # an id may look like a number
        assert "export: must" in command("study=s", f"export={digits}", *QUICK).err
    assert "export: must" in command("-m", "study=new", f"export={run_id}", *QUICK).err
    assert not (tmp_path / "outputs" / "new").exists()
    wrong = command("activation=tanh", "study=s", "export=0000", *QUICK)
    assert wrong.code == 2
    assert wrong.refusals[0].startswith("export: must begin the id of one run")


def test_per_run_logs_and_no_logs(command: Command, tmp_path: Path) -> None:
    command("-m", "activation=relu,tanh", "log_each_run=true", "study=each", *QUICK)
    frame = read_study(tmp_path / "outputs" / "each")
    folders = {path.parent.name for path in (tmp_path / "outputs" / "each").rglob("events*")}
    assert {name.rpartition(", ")[2] for name in folders if ", seed " in name} == {i[:12] for i in frame["run_id"]}
    command("-m", "activation=relu,tanh", "logger=none", "study=none", *QUICK)
    assert not list((tmp_path / "outputs" / "none").rglob("events*"))


def test_debug_runs_are_not_recorded(command: Command, tmp_path: Path) -> None:
    done = command("debug=fast_dev_run", "study=s")
    assert done.code == 0
    assert "not recorded" in done.err
    assert not list(tmp_path.rglob("*.parquet"))
    profiled = command("debug=profiler", "study=s", *QUICK)
    assert profiled.code == 0
    assert "run_training_epoch" in profiled.out + profiled.err


def test_a_sweep_never_mixes_debug_runs_with_recorded_ones(command: Command) -> None:
    grids = "hydra.sweeper.grids=[{seed:[0]},{seed:[1],+trainer.fast_dev_run:[true]}]"
    done = command("-m", grids, "engine=solo", "trainer.max_epochs=2", "study=s")
    assert done.code == 2
    assert "trainer.fast_dev_run: must be the same" in done.err


def test_b7_two_unnamed_commands_never_share_a_folder(tmp_path: Path) -> None:
    names = set()
    for _ in range(100):
        config = OmegaConf.create(
            {"study": None, "outputs": "outputs", "command": None, "hydra": {"overrides": {"task": []}}}
        )
        name_study(config)
        names.add(config.study)
    assert len(names) == 100
    pair = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "scripts" / "train.py"), f"seed={seed}", *QUICK],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
        )
        for seed in (0, 1)
    ]
    for process in pair:
        _, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
    frames = [read_study(study) for study in studies(tmp_path)]
    assert sorted(pd.concat(frames)["seed"]) == [0, 1]
    assert [len(frame) for frame in frames] == [1, 1]


def test_folder_names_of_jobs_are_short_safe_and_distinct() -> None:
    long = [f"optimizer.lr=0.{'0' * 200}{n}" for n in range(3)]
    hostile = [
        "a=../../x",
        "a=.._.._x",
        "a=$(reboot)",
        "a=\n",
        "a=😀",
        "a=\u202e",
        "..",
        ".",
        "a=x/y",
        "a=x_y",
        "a='b'",
    ]
    names = [job_folder(text) for text in ["", *long, *hostile]]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_=+,-][A-Za-z0-9._=+,-]{0,99}", name) for name in names), names
