"""What TensorBoard's own reader finds in the folders of a study."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams import metadata
from tensorboard.summary.writer.record_writer import RecordWriter

from pima_hp.errors import StorageError
from pima_hp.ledger import CURVE_COLUMNS, Ledger
from pima_hp.ledger.events import curve_events, file_bytes, scalar_event
from pima_hp.ledger.tensorboard import RUN_FILE, STUDY_FILE, remove_runs, write_run, write_study
from pima_hp.run import RunStatus
from tests.ledger.conftest import LEAKY, configuration_of, record_of


def _read(folder: Path) -> Any:
    return EventAccumulator(str(folder)).Reload()


def _session(events: Any) -> dict[str, Any]:
    content = events.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}


@pytest.fixture
def frame(tmp_path: Path) -> pd.DataFrame:
    relu = configuration_of(trainer__max_epochs=6)
    leaky = configuration_of(trainer__max_epochs=6, activation=LEAKY, batch__size="full")
    single = configuration_of(trainer__max_epochs=6, optimizer__lr=0.5)
    ledger = Ledger(tmp_path / "study")
    ledger.append([record_of(relu, seed) for seed in range(7)])
    ledger.append([record_of(leaky, seed, RunStatus.DIVERGED if seed else RunStatus.COMPLETED) for seed in range(3)])
    ledger.append([record_of(leaky, 9, RunStatus.FAILED), record_of(single, 0)])
    return ledger.frame()


def _completed(frame: pd.DataFrame) -> "pd.Series[Any]":
    return frame[frame["status"] == "completed"].iloc[-1]


def _ids(frame: pd.DataFrame) -> dict[str, str]:
    names = frame["activation"] + frame["optimizer.lr"].astype(str)
    return dict(zip(names, frame["config_id"], strict=True))


def test_a_configuration_is_the_mean_and_band_of_its_runs(tmp_path: Path, frame: pd.DataFrame) -> None:
    ids = _ids(frame)
    relu, leaky, single = ids["relu0.001"], ids["leaky_relu0.001"], ids["relu0.5"]
    assert write_study(tmp_path / "tb", frame, {relu: "relu, adam", leaky: "leaky", single: "lr=0.5"}) == 4
    events = _read(tmp_path / "tb" / "relu, adam")
    runs = frame[frame["config_id"] == relu]
    for key in CURVE_COLUMNS:
        values = np.stack(runs[key].tolist())
        for tag, expected in (
            (key, values.mean(axis=0)),
            (f"{key}_q05", np.quantile(values, 0.05, axis=0)),
            (f"{key}_q95", np.quantile(values, 0.95, axis=0)),
        ):
            scalars = events.Scalars(tag)
            assert [scalar.step for scalar in scalars] == list(range(1, 7))
            np.testing.assert_allclose([scalar.value for scalar in scalars], expected, rtol=1e-6)
    (final,) = events.Scalars("hp/val/accuracy")
    assert final.value == pytest.approx(np.stack(runs["val/accuracy"].tolist())[:, -1].mean())
    assert events.Scalars("hp/val/auroc")[0].value == pytest.approx(runs["final/val/auroc"].mean())

    tags = _read(tmp_path / "tb" / "lr=0.5").Tags()["scalars"]
    assert set(CURVE_COLUMNS) < set(tags)
    assert not [tag for tag in tags if "_q" in tag]


def test_diverged_runs_leave_and_failed_ones_never_count(tmp_path: Path, frame: pd.DataFrame) -> None:
    leaky = _ids(frame)["leaky_relu0.001"]
    write_study(tmp_path / "tb", frame, {})
    events = _read(tmp_path / "tb" / leaky)
    runs = frame[(frame["config_id"] == leaky) & (frame["status"] != "failed")]
    values = np.stack(runs["train/loss"].tolist())
    expected = [*values[:, :3].mean(axis=0), *values[0, 3:]]  # the two diverged in epoch 4
    np.testing.assert_allclose([scalar.value for scalar in events.Scalars("train/loss")], expected, rtol=1e-6)
    upper = [scalar.value for scalar in events.Scalars("train/loss_q95")]
    np.testing.assert_allclose(upper, [*np.quantile(values[:, :3], 0.95, axis=0), *values[0, 3:]], rtol=1e-6)
    diverged = frame[frame["run_id"] == runs["run_id"].iloc[1]]
    write_study(tmp_path / "gone", diverged, {})
    events = _read(tmp_path / "gone" / leaky)
    assert len(events.Scalars("train/loss")) == 3
    assert "hp/train/loss" not in events.Tags()["scalars"]


def test_the_hparams_tab_has_what_differs_and_the_final_scores(tmp_path: Path, frame: pd.DataFrame) -> None:
    ids = _ids(frame)
    write_study(tmp_path / "tb", frame, {})
    assert _session(_read(tmp_path / "tb" / ids["relu0.5"])) == {
        "activation": "relu",
        "optimizer.lr": 0.5,
        "batch.size": "16",
    }
    assert _session(_read(tmp_path / "tb" / ids["leaky_relu0.001"])) == {
        "activation": "leaky_relu",
        "activation.negative_slope": 0.3,
        "optimizer.lr": 0.001,
        "batch.size": "full",
    }
    root = _read(tmp_path / "tb" / STUDY_FILE).summary_metadata
    experiment = metadata.parse_experiment_plugin_data(root[metadata.EXPERIMENT_TAG].plugin_data.content)
    metrics = {info.name.tag for info in experiment.metric_infos}
    assert metrics == {f"hp/{key}" for key in (*CURVE_COLUMNS, "val/auroc", "test/brier")}
    hparams = {info.name: list(info.domain_discrete) for info in experiment.hparam_infos}
    assert hparams == {
        "activation": ["leaky_relu", "relu"],
        "activation.negative_slope": [],
        "optimizer.lr": [],
        "batch.size": ["16", "full"],
    }


def test_the_hparams_plugin_itself_shows_every_configuration(tmp_path: Path, frame: pd.DataFrame) -> None:
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    for study in ("one", "two"):
        write_study(tmp_path / "outputs" / study, frame, {})
    write_run(tmp_path / "outputs" / "one" / "run", _completed(frame))
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "outputs")).Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path / "outputs"))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=10)
    request.allowed_statuses.extend([api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_RUNNING])
    groups = list_session_groups.Handler(RequestContext(), context, "", request).run().session_groups
    configurations = {f"{study}/{config_id}" for study in ("one", "two") for config_id in frame["config_id"]}
    assert {group.name for group in groups} == {"one/run", *configurations}
    metrics = {value.name.tag for group in groups for value in group.metric_values}
    assert metrics == {f"hp/{key}" for key in (*CURVE_COLUMNS, "val/auroc", "test/brier")}


def test_it_is_written_again_only_where_something_changed(tmp_path: Path, frame: pd.DataFrame) -> None:
    ids = _ids(frame)
    labels = {ids["relu0.001"]: "relu", ids["leaky_relu0.001"]: "leaky", ids["relu0.5"]: "fast"}
    write_study(tmp_path, frame, labels)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob(STUDY_FILE)}
    assert write_study(tmp_path, frame, labels) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob(STUDY_FILE)} == before
    fewer = frame[~((frame["config_id"] == ids["relu0.001"]) & (frame["seed"] == 6))]
    assert write_study(tmp_path, fewer, labels) == 1
    assert len(list((tmp_path / "relu").iterdir())) == 1
    (tmp_path / "leaky" / "notes.txt").write_text("mine")
    assert write_study(tmp_path, fewer, {**labels, ids["leaky_relu0.001"]: "slope", ids["relu0.5"]: "quick"}) == 2
    assert sorted(path.name for path in tmp_path.glob("*") if path.is_dir() and path.name != "study") == [
        "leaky",
        "quick",
        "relu",
        "slope",
    ]
    assert [path.name for path in (tmp_path / "leaky").iterdir()] == ["notes.txt"]


def test_labels(tmp_path: Path, frame: pd.DataFrame) -> None:
    config_id = frame["config_id"].iloc[0]
    for label in ("a/b", "..", ".", "", "a\\b", "a\0b"):
        with pytest.raises(ValueError, match="plain folder name"):
            write_study(tmp_path / "tb", frame, {config_id: label})
    shared = dict.fromkeys(frame["config_id"], "same")
    write_study(tmp_path / "tb", frame, shared)
    assert {path.parent.name for path in (tmp_path / "tb").glob(f"*/{STUDY_FILE}")} == {
        f"same~{config_id[:8]}" for config_id in shared
    }


def test_one_run_on_demand(tmp_path: Path, frame: pd.DataFrame) -> None:
    row = _completed(frame)
    assert write_run(tmp_path / "run", row)
    assert not write_run(tmp_path / "run", row)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [RUN_FILE]
    events = _read(tmp_path / "run")
    for key in CURVE_COLUMNS:
        np.testing.assert_allclose([scalar.value for scalar in events.Scalars(key)], row[key], rtol=1e-6)
    scores = row.filter(like="final/").dropna()
    for column, value in scores.items():
        assert events.Scalars(f"hp/{column.removeprefix('final/')}")[0].value == pytest.approx(value)
    session = _session(events)
    assert session["activation"] == row["activation"]
    assert session["model.hidden_widths"] == "(12, 8)"
    assert session["data.stratified"] is False
    assert session["trainer.max_epochs"] == 6.0
    assert "trainer.engine" not in session
    assert "lr" not in events.Tags()["scalars"]
    assert write_run(tmp_path / "run", row, np.linspace(1, 0, 6))
    assert [one.value for one in _read(tmp_path / "run").Scalars("lr")] == pytest.approx(np.linspace(1, 0, 6))


@pytest.mark.parametrize(("status", "n_epochs", "ended"), [("stopped early", 4, 1), ("diverged", 3, 2)])
def test_the_curves_of_a_run_end_where_its_training_ended(
    tmp_path: Path, status: str, n_epochs: int, ended: int
) -> None:
    configuration = configuration_of(trainer__max_epochs=6)
    ledger = Ledger(tmp_path)
    ledger.append([record_of(configuration, 0, RunStatus(status)), record_of(configuration, 1)])
    frame = ledger.frame()
    write_run(tmp_path / "run", frame.iloc[0], np.linspace(1, 0, 6))
    events = _read(tmp_path / "run")
    for key in (*CURVE_COLUMNS, "lr"):
        assert [scalar.step for scalar in events.Scalars(key)] == list(range(1, n_epochs + 1))
    end = events.summary_metadata[metadata.SESSION_END_INFO_TAG].plugin_data.content
    assert metadata.parse_session_end_info_plugin_data(end).status == ended  # 1: success, 2: failure
    assert ("hp/val/auroc" in events.Tags()["scalars"]) is (status == "stopped early")
    write_study(tmp_path / "tb", frame, {configuration.id: "both"})
    means = _read(tmp_path / "tb" / "both").Scalars("val/loss")
    assert [one.value for one in means[n_epochs:]] == pytest.approx(frame["val/loss"][1][n_epochs:].tolist())
    (final,) = _read(tmp_path / "tb" / "both").Scalars("hp/val/auroc")
    assert final.value == pytest.approx(frame["final/val/auroc"][1]), "that of the run that was trained to the end"


def test_a_run_that_lightning_has_logged_is_not_written_again_and_an_attempt_at_it_is_removed(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    theirs = tmp_path / "run" / "events.out.tfevents.1795459808.host.1.0"
    theirs.parent.mkdir()
    theirs.write_bytes(b"events")
    (tmp_path / "run" / "hparams.yaml").write_text("mine")
    assert not write_run(tmp_path / "run", _completed(frame))
    assert write_run(tmp_path / "other", _completed(frame))
    remove_runs(tmp_path, {"run"})
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["hparams.yaml"]
    assert [path.name for path in (tmp_path / "other").iterdir()] == [RUN_FILE]
    assert write_run(tmp_path / "run", _completed(frame))


def test_an_empty_study_and_a_folder_that_cannot_be(tmp_path: Path) -> None:
    empty = Ledger(tmp_path / "empty").frame()
    assert write_study(tmp_path / "tb", empty, {}) == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        write_study(tmp_path / "file", empty, {})


def test_event_files_are_those_of_tensorboards_own_writer() -> None:
    rng = np.random.default_rng(0)
    curves = {tag: rng.normal(size=300) for tag in ("val/loss", "val/loss_q05", "a", "aa")}
    curves["a"][7] = np.nan
    curves["aa"][0], curves["aa"][1] = 1e300, -np.inf
    rows = zip(*(curve.tolist() for curve in curves.values()), strict=True)
    events = [scalar_event(dict(zip(curves, row, strict=True)), step) for step, row in enumerate(rows, 1)]
    stream = io.BytesIO()
    writer = RecordWriter(stream)
    for event in (Event(wall_time=0.0, file_version="brain.Event:2"), *events):
        writer.write(event.SerializeToString(deterministic=True))
    assert file_bytes(curve_events(curves)) == stream.getvalue()
