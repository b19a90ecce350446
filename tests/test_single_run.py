"""One run without `-m`: who trains it, what it leaves for TensorBoard, and what it costs to begin (FAULTS A11, A12)."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from pima_hp.ledger import CURVE_COLUMNS, read_study
from tests.conftest import Command
from tests.test_app import QUICK, state_of


def shown(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, Any], dict[str, Any]]:
    """What TensorBoard reads of a run: tag -> steps and values, settings, columns and end of its HParams."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    scalars = {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    contents = {tag: found.plugin_data.content for tag, found in events.summary_metadata.items()}
    start = metadata.parse_session_start_info_plugin_data(contents[metadata.SESSION_START_INFO_TAG])
    settings = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}
    experiment = metadata.parse_experiment_plugin_data(contents[metadata.EXPERIMENT_TAG])
    end = metadata.parse_session_end_info_plugin_data(contents[metadata.SESSION_END_INFO_TAG])
    columns = {info.name: list(info.domain_discrete) for info in experiment.hparam_infos}
    return scalars, settings, {**columns, "metrics": {info.name.tag for info in experiment.metric_infos}, "end": end}


@pytest.mark.parametrize(
    ("variant", "n_rates"),
    [
        (("scheduler=none", "activation=leaky_relu"), 1),
        (("scheduler=step", "scheduler.step_size=2", "data=pima_honest"), 3),
        (("scheduler=cosine", "batch=full"), 6),
        (("scheduler=plateau_half", "scheduler.patience=1", "scheduler.threshold=10.0", "batch.shuffle=true"), 3),
    ],
)
def test_tensorboard_shows_the_same_as_of_lightning(
    command: Command, tmp_path: Path, variant: tuple[str, ...], n_rates: int
) -> None:
    own = ("optimizer=adam", "seed=4", "trainer.max_epochs=6", "trainer.precision=64", "study=s", *variant)
    assert command(*own).code == 0
    assert command("engine=solo", "outputs=alone", *own).code == 0
    ours, lightnings = (tmp_path / name / "s" / "tensorboard" for name in ("outputs", "alone"))
    assert [read_study(path.parent)["engine"].tolist() for path in (ours, lightnings)] == [["fused"], ["solo"]]
    (folder,), (other,) = ours.iterdir(), lightnings.iterdir()
    assert folder.name.partition(",seed=")[2] == other.name.partition(",seed=")[2] != ""
    (scalars, settings, rest), (expected, expected_settings, expected_rest) = shown(folder), shown(other)
    assert set(scalars) == set(expected) > {*CURVE_COLUMNS, "lr"}
    for tag, values in expected.items():
        assert [step for step, _ in scalars[tag]] == [step for step, _ in values], tag
        np.testing.assert_allclose([v for _, v in scalars[tag]], [v for _, v in values], rtol=1e-6, err_msg=tag)
    assert len({value for _, value in scalars["lr"]}) == n_rates
    assert settings == expected_settings
    assert settings["optimizer"] == "adam"
    assert rest == expected_rest


@pytest.mark.parametrize("engine", ["auto", "solo"])
def test_a11_a_finished_run_is_left_as_it_is_and_never_shown_twice(
    command: Command, tmp_path: Path, engine: str
) -> None:
    arguments = (f"engine={engine}", "study=s", *QUICK)
    assert "trained 1 run" in command(*arguments).err
    study = tmp_path / "outputs" / "s"
    before = {name: state for name, state in state_of(study).items() if not name.startswith("jobs")}
    again = command(*arguments)
    assert again.code == 0
    assert "nothing to train" in again.err
    run_id = read_study(study)["run_id"].iloc[0]
    for more in ((f"export={run_id}",), ("log_each_run=true",)):
        assert command(*arguments, *more).code == 0
    assert {name: state for name, state in state_of(study).items() if not name.startswith("jobs")} == before
    assert len(list(study.rglob("*tfevents*"))) == 1


def test_a12_events_that_were_deleted_are_written_again_from_the_ledger(command: Command, tmp_path: Path) -> None:
    assert command("study=s", *QUICK).code == 0
    (events,) = tmp_path.rglob("*tfevents*")
    content = events.read_bytes()
    events.unlink()
    again = command("study=s", *QUICK)
    assert "nothing to train" in again.err
    assert events.read_bytes() == content


def test_a_run_that_joins_a_study_has_a_folder_and_counts_in_the_mean(command: Command, tmp_path: Path) -> None:
    command("-m", "activation=relu,tanh", "study=s", *QUICK)
    study = tmp_path / "outputs" / "s"
    overview = study / "tensorboard" / "activation=tanh"
    (before,) = [path.read_bytes() for path in overview.iterdir()]
    assert command("activation=tanh", "seed=1", "study=s", *QUICK).code == 0
    run_id = read_study(study).set_index("seed").loc[1, "run_id"]
    folders = {path.name for path in study.glob("tensorboard/*/")} - {"activation=relu", "activation=tanh"}
    assert {name for name in folders if not name.startswith("events")} == {f"activation=tanh,seed=1,{run_id[:6]}"}
    assert [path.read_bytes() for path in overview.iterdir()] != [before]


def test_without_a_logger_nothing_is_written_for_tensorboard(command: Command, tmp_path: Path) -> None:
    assert command("logger=none", *QUICK).code == 0
    assert not list(tmp_path.rglob("*tfevents*"))


AMSGRAD = ("optimizer=adam", "+optimizer.amsgrad=true")
NO_ROW = ("activation=gelu", "activation.approximate=tanh")
ENGINES = {
    (): "fused",
    ("logger=csv",): "solo",
    ("logger=both", "engine=fused"): "fused",
    ("engine=solo",): "solo",
    ("engine=stacked",): "stacked",
    AMSGRAD: "solo",
    NO_ROW: "solo",
    (*NO_ROW, "engine=stacked"): "stacked",
    (*NO_ROW, "n_replicates=2"): "stacked",
    ("n_replicates=2", "logger=csv"): "fused",
}


@pytest.mark.parametrize("overrides", ENGINES, ids=" ".join)
def test_lightning_trains_one_run_where_it_is_asked_for_or_nothing_faster_can(
    command: Command, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    engine = ENGINES[overrides]
    planned = command(*overrides, "study=s", "dry_run=true", *QUICK)
    n_stacks = 0 if engine == "solo" else 1
    assert f" in {n_stacks} stacks, {1 - n_stacks} one at a time" in planned.out
    assert command(*overrides, "study=s", *QUICK).code == 0
    study = tmp_path / "outputs" / "s"
    assert set(read_study(study)["engine"]) == {engine}
    assert bool(list(study.rglob("metrics.csv"))) is (overrides == ("logger=csv",))


def test_without_llvmlite_lightning_trains_one_run(command: Command, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "pima_hp.training.fused.engine", None)
    assert command("study=s", *QUICK).code == 0
    assert read_study(tmp_path / "outputs" / "s")["engine"].tolist() == ["solo"]
    (log,) = (tmp_path / "outputs" / "s").rglob("app.log")
    assert "1 run is trained one at a time: llvmlite does not work here" in log.read_text()


def test_the_missing_one_of_several_replicates_is_trained_as_the_others_were(command: Command, tmp_path: Path) -> None:
    assert command(*NO_ROW, "n_replicates=2", "study=s", *QUICK).code == 0
    assert "trained 1 run" in command(*NO_ROW, "n_replicates=3", "study=s", *QUICK).err
    assert read_study(tmp_path / "outputs" / "s")["engine"].tolist() == ["stacked"] * 3


def test_a_diverged_run_shows_its_curves_until_then(command: Command, tmp_path: Path) -> None:
    wild = ("optimizer=sgd", "optimizer.lr=0.01", "activation=identity", "batch=full", "trainer.max_epochs=30")
    done = command(*wild, "model.hidden_widths=[4,4,4]", "model.initialization=he_normal", "seed=1", "study=s")
    assert done.code == 0
    assert "1 diverged" in done.err
    (row,) = read_study(tmp_path / "outputs" / "s").to_dict("records")
    (events,) = tmp_path.rglob("*tfevents*")
    scalars, _, rest = shown(events.parent)
    assert set(scalars) == {*CURVE_COLUMNS, "lr"}
    assert 1 < row["stop_epoch"] <= 30
    for values in scalars.values():
        assert [step for step, _ in values] == list(range(1, row["stop_epoch"]))
    assert rest["end"].status == 2, "a failure"


def test_the_fast_path_imports_neither_lightning_nor_a_compiler(tmp_path: Path) -> None:
    code = f"""
import sys
from pima_hp.app import run
assert run(["optimizer=adam", "study=s", *{QUICK}]) == 0
assert {{"torch", "pima_hp.training.fused.compiled"}} < set(sys.modules)
assert not {{"lightning", "torchmetrics", "torch.utils.tensorboard", "torch._dynamo", "numba"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*tfevents*"))
