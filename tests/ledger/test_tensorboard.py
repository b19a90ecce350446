"""What TensorBoard's own reader finds in the folders of a study."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.context import RequestContext
from tensorboard.plugins.hparams import metadata
from tensorboard.summary.writer.record_writer import RecordWriter

from pima_hp.errors import StorageError
from pima_hp.ledger import Ledger, events
from pima_hp.ledger.names import labels_of
from pima_hp.ledger.tensorboard import (
    COLUMNS_FILE,
    RUN_FILE,
    STUDY_FILE,
    STUDY_FILES,
    remove_runs,
    write_runs,
    write_study,
)
from pima_hp.run import CURVES, FINAL, RunStatus, tag_of
from tests.ledger.conftest import ENDED, configuration_of, results_of

METRICS = {"~final/val/auroc": "val auroc", "~final/test/brier": "test brier"}


def _read(folder: Path) -> Any:
    return EventAccumulator(str(folder)).Reload()


def _session(found: Any) -> dict[str, Any]:
    content = found.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}


def _columns(found: Any) -> Any:
    content = found.summary_metadata[metadata.EXPERIMENT_TAG].plugin_data.content
    return metadata.parse_experiment_plugin_data(content)


def _write_run(folder: Path, row: "pd.Series[Any]") -> Path:
    """The folder in which the run of this row was written, alone."""
    write_runs(folder, row.to_frame().T.infer_objects(), {})
    (written,) = folder.iterdir()
    return written


def _completed(frame: pd.DataFrame) -> "pd.Series[Any]":
    return frame[frame["status"] == "completed"].iloc[-1]


def _ids(frame: pd.DataFrame) -> dict[str, str]:
    names = frame["activation"] + frame["optimizer.lr"].astype(str)
    return dict(zip(names, frame["config_id"], strict=True))


def test_a_configuration_is_the_mean_and_band_of_its_runs(tmp_path: Path, frame: pd.DataFrame) -> None:
    ids = _ids(frame)
    relu, leaky, single = ids["relu0.001"], ids["leaky_relu0.001"], ids["relu0.5"]
    frame["val/f1"] = frame["val/accuracy"]  # a metric that some module logs
    assert write_study(tmp_path / "tb", frame, {relu: "relu, adam", leaky: "leaky", single: "lr 0.5"}) == 3
    found = _read(tmp_path / "tb" / "relu, adam")
    runs = frame[frame["config_id"] == relu]
    for key in (*CURVES, "val/f1"):
        values = np.stack(runs[key].tolist())
        for tag, expected in (
            (tag_of(key), values.mean(axis=0)),
            (f"~q05/{key}", np.quantile(values, 0.05, axis=0)),
            (f"~q95/{key}", np.quantile(values, 0.95, axis=0)),
        ):
            scalars = found.Scalars(tag)
            assert [scalar.step for scalar in scalars] == list(range(1, 7))
            np.testing.assert_allclose([scalar.value for scalar in scalars], expected, rtol=1e-6)
    (final,) = found.Scalars("~final/val/auroc")
    assert final.value == pytest.approx(runs["final/val/auroc"].mean())
    assert final.step == 6

    tags = _read(tmp_path / "tb" / "lr 0.5").Tags()["scalars"]
    assert set(tags) == {*map(tag_of, CURVES), "val/f1", *METRICS}


def test_events_have_the_times_at_which_the_epochs_ended(tmp_path: Path, frame: pd.DataFrame) -> None:
    write_study(tmp_path / "tb", frame, {})
    relu = _ids(frame)["relu0.001"]
    last = frame[frame["config_id"] == relu]["ended_s"].max()
    found = _read(tmp_path / "tb" / relu)
    assert [one.wall_time for one in found.Scalars("val/loss")] == pytest.approx([last - 10 + 2 * e for e in range(6)])
    assert found.Scalars("~final/val/auroc")[0].wall_time == last
    assert found.FirstEventTimestamp() == last - 12
    row = frame[frame["status"] == "diverged"].iloc[0]  # in the fourth of six epochs
    times = [one.wall_time for one in _read(_write_run(tmp_path / "run", row)).Scalars("val/loss")]
    assert times == pytest.approx([row["ended_s"] - 9 + 3 * e for e in range(3)])


def test_final_scores_and_bands_come_after_the_curves_in_the_order_of_tensorboard(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    write_study(tmp_path / "tb", frame, {})
    tags = sorted(_read(tmp_path / "tb" / _ids(frame)["relu0.001"]).Tags()["scalars"])  # `/` and letters by their codes
    groups = list(dict.fromkeys(tag.partition("/")[0] for tag in tags))
    assert groups == ["train", "val", "~final", "~lr", "~q05", "~q95"]
    assert FINAL.startswith("~")


def test_a_learning_rate_that_stays_is_no_curve_of_a_study(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame["lr"] = [np.where(np.isnan(curve), np.nan, 0.5) for curve in frame["val/loss"]]
    write_study(tmp_path / "tb", frame, {})
    assert not [tag for found in (tmp_path / "tb").iterdir() for tag in _read(found).Tags()["scalars"] if "lr" in tag]


def test_diverged_runs_leave_and_failed_ones_never_count(tmp_path: Path, frame: pd.DataFrame) -> None:
    leaky = _ids(frame)["leaky_relu0.001"]
    write_study(tmp_path / "tb", frame, {})
    found = _read(tmp_path / "tb" / leaky)
    runs = frame[(frame["config_id"] == leaky) & (frame["status"] != "failed")]
    values = np.stack(runs["train/loss"].tolist())
    expected = [*values[:, :3].mean(axis=0), *values[0, 3:]]  # the two diverged in epoch 4
    np.testing.assert_allclose([scalar.value for scalar in found.Scalars("train/loss")], expected, rtol=1e-6)
    upper = [scalar.value for scalar in found.Scalars("~q95/train/loss")]
    np.testing.assert_allclose(upper, [*np.quantile(values[:, :3], 0.95, axis=0), *values[0, 3:]], rtol=1e-6)
    diverged = frame[frame["run_id"] == runs["run_id"].iloc[1]]
    write_study(tmp_path / "gone", diverged, {})
    found = _read(tmp_path / "gone" / leaky)
    assert len(found.Scalars("train/loss")) == 3
    assert not [tag for tag in found.Tags()["scalars"] if tag.startswith(FINAL)]


def test_the_hparams_tab_has_what_differs_and_the_final_scores(tmp_path: Path, frame: pd.DataFrame) -> None:
    ids = _ids(frame)
    write_study(tmp_path / "tb", frame, {})
    found = _read(tmp_path / "tb" / ids["relu0.5"])
    assert _session(found) == {"activation": "relu", "optimizer.lr": 0.5, "batch.size": "16"}
    assert _session(_read(tmp_path / "tb" / ids["leaky_relu0.001"])) == {
        "activation": "leaky_relu",  # which tells its negative_slope
        "optimizer.lr": 0.001,
        "batch.size": "full",
    }
    columns = _columns(found)
    assert {info.name.tag: info.display_name for info in columns.metric_infos} == METRICS
    assert next(iter(columns.metric_infos)).name.tag == "~final/val/auroc"
    assert {info.name: list(info.domain_discrete) for info in columns.hparam_infos} == {
        "activation": ["leaky_relu", "relu"],
        "optimizer.lr": [],
        "batch.size": ["16", "full"],
    }
    write_study(tmp_path / "one", frame[frame["config_id"] == ids["relu0.5"]], {})
    assert _session(_read(tmp_path / "one" / ids["relu0.5"])) == {
        "activation": "relu",
        "optimizer": "adam",
        "scheduler": "none",
        "optimizer.lr": 0.5,
        "batch.size": 16.0,
    }


def test_the_hparams_plugin_itself_shows_every_configuration(tmp_path: Path, frame: pd.DataFrame) -> None:
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

    for study in ("one", "two"):
        write_study(tmp_path / "outputs" / study, frame, {})
    row = _completed(frame)
    write_runs(tmp_path / "outputs" / "one", frame, {row["config_id"]: "own"}, [row["run_id"]])
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "outputs")).Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path / "outputs"))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=10)
    request.allowed_statuses.extend([api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_RUNNING])
    groups = list_session_groups.Handler(RequestContext(), context, "", request).run().session_groups
    configurations = {f"{study}/{config_id}" for study in ("one", "two") for config_id in frame["config_id"]}
    assert {group.name for group in groups} == {
        f"one/own, seed {row['seed']}, {row['run_id'][:6]}",
        *configurations,
    }
    assert {value.name.tag for group in groups for value in group.metric_values} == set(METRICS)


def test_it_is_written_again_only_where_something_changed(tmp_path: Path, frame: pd.DataFrame) -> None:
    ids = _ids(frame)
    labels = {ids["relu0.001"]: "relu", ids["leaky_relu0.001"]: "leaky", ids["relu0.5"]: "fast"}
    write_study(tmp_path, frame, labels)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob(STUDY_FILES)}
    assert len(before) == 3
    assert write_study(tmp_path, frame.copy(), labels) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob(STUDY_FILES)} == before
    fewer = frame[~((frame["config_id"] == ids["relu0.001"]) & (frame["seed"] == 6))]
    assert write_study(tmp_path, fewer, labels) == 1
    assert [path.name for path in (tmp_path / "relu").iterdir()] == [STUDY_FILE.format(6)]
    (tmp_path / "leaky" / "notes.txt").write_text("mine")
    assert write_study(tmp_path, fewer, {**labels, ids["leaky_relu0.001"]: "slope", ids["relu0.5"]: "quick"}) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"leaky", "quick", "relu", "slope", "study"}
    assert [path.name for path in (tmp_path / "leaky").iterdir()] == ["notes.txt"]


def test_a_study_that_grows_leaves_no_folder_under_an_old_label(tmp_path: Path, frame: pd.DataFrame) -> None:
    ids = _ids(frame)
    for part in (frame[frame["activation"] == "relu"], frame):
        chosen = part.drop_duplicates("config_id").set_index("config_id")[["activation", "optimizer.lr"]]
        labels = labels_of(chosen.to_dict("index"))
        write_study(tmp_path / "tb", part, labels)
        assert {path.name for path in (tmp_path / "tb").iterdir()} == set(labels.values())
    assert labels[ids["relu0.5"]] == "relu, lr 0.5"


def test_one_run_on_demand(tmp_path: Path, frame: pd.DataFrame) -> None:
    row = _completed(frame)
    labels = {row["config_id"]: "relu"}
    assert write_runs(tmp_path / "tb", frame, labels, [row["run_id"]]) == 2
    for again in (labels, {row["config_id"]: "another label"}):
        assert write_runs(tmp_path / "tb", frame, again, [row["run_id"]]) == 0
    (folder,) = (tmp_path / "tb").iterdir()
    assert folder.name == f"relu, seed {row['seed']}, {row['run_id'][:6]}"
    assert {path.name for path in folder.iterdir()} == {RUN_FILE, COLUMNS_FILE}
    found = _read(folder)
    for key in CURVES:
        np.testing.assert_allclose([scalar.value for scalar in found.Scalars(tag_of(key))], row[key], rtol=1e-6)
    for column, value in row.filter(like="final/").dropna().items():
        (final,) = found.Scalars(f"~{column}")
        assert (final.value, final.step) == (pytest.approx(value), 6)
    assert set(_session(found)) == {"activation", "optimizer.lr", "batch.size"}, "the columns of the study"
    alone = _session(_read(_write_run(tmp_path / "alone", row)))
    assert set(alone) == {"activation", "optimizer", "scheduler", "optimizer.lr", "batch.size"}


def test_only_the_study_has_columns_of_hparams_once_it_is_written(tmp_path: Path, frame: pd.DataFrame) -> None:
    n_runs = (frame["status"] != "failed").sum()
    assert write_runs(tmp_path / "tb", frame, {}) == 2 * n_runs
    assert len(list((tmp_path / "tb").glob(f"*/{COLUMNS_FILE}"))) == n_runs
    write_study(tmp_path / "tb", frame, {})
    assert write_runs(tmp_path / "tb", frame, {}) == 0
    assert not list((tmp_path / "tb").glob(f"*/{COLUMNS_FILE}"))
    assert len(list((tmp_path / "tb").glob(f"*/{RUN_FILE}"))) == n_runs


@pytest.mark.parametrize(("status", "n_epochs", "ended"), [("stopped early", 4, 1), ("diverged", 3, 2)])
def test_the_curves_of_a_run_end_where_its_training_ended(
    tmp_path: Path, status: str, n_epochs: int, ended: int
) -> None:
    configuration = configuration_of(trainer__max_epochs=6)
    ledger = Ledger(tmp_path / "study")
    for results in (results_of(configuration, 0, RunStatus(status)), results_of(configuration, 1)):
        ledger.append(results)
    frame = ledger.frame()
    found = _read(_write_run(tmp_path / "run", frame.iloc[0]))
    for key in CURVES:
        assert [scalar.step for scalar in found.Scalars(tag_of(key))] == list(range(1, n_epochs + 1))
    end = found.summary_metadata[metadata.SESSION_END_INFO_TAG].plugin_data.content
    assert metadata.parse_session_end_info_plugin_data(end).status == ended  # 1: success, 2: failure
    assert ("~final/val/auroc" in found.Tags()["scalars"]) is (status == "stopped early")
    write_study(tmp_path / "tb", frame, {configuration.id: "both"})
    means = _read(tmp_path / "tb" / "both").Scalars("val/loss")
    assert [one.value for one in means[n_epochs:]] == pytest.approx(frame["val/loss"][1][n_epochs:].tolist())
    (final,) = _read(tmp_path / "tb" / "both").Scalars("~final/val/auroc")
    assert final.value == pytest.approx(frame["final/val/auroc"][1]), "that of the run that was trained to the end"


def test_a_run_that_lightning_has_logged_is_not_written_again_and_an_attempt_at_it_is_removed(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    row = _completed(frame)
    labels, run_ids = {row["config_id"]: "relu"}, [row["run_id"]]
    folder = tmp_path / f"relu, seed {row['seed']}, {row['run_id'][:6]}"
    other = tmp_path / "relu, seed 0, 123456" / "events.out.tfevents.1795459808.host.1.0"
    for theirs in (folder / other.name, folder / f"{other.name}.pima_hp_columns", other):
        theirs.parent.mkdir(exist_ok=True)
        theirs.write_bytes(b"events")
    (folder / "hparams.yaml").write_text("mine")
    assert write_runs(tmp_path, frame, labels, run_ids) == 0
    remove_runs(tmp_path, run_ids)
    assert [path.name for path in folder.iterdir()] == ["hparams.yaml"]
    assert other.exists()
    assert write_runs(tmp_path, frame, labels, run_ids) == 2


def test_an_empty_study_and_a_folder_that_cannot_be(tmp_path: Path, frame: pd.DataFrame) -> None:
    empty = Ledger(tmp_path / "empty").frame()
    assert write_study(tmp_path / "tb", empty, {}) == 0
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        write_study(tmp_path / "file", frame, {})


def test_event_files_are_those_of_tensorboards_own_writer() -> None:
    values = {"val/loss": 0.5, "gap": np.nan, "large": 1e300, "small": -np.inf}
    rows = [events.scalars(ENDED + step, step, values) for step in (1, 300)]
    stream = io.BytesIO()
    writer = RecordWriter(stream)
    for event in (Event(wall_time=ENDED, file_version="brain.Event:2"), *rows):
        writer.write(event.SerializeToString(deterministic=True))
    assert events.file_bytes(ENDED, rows) == stream.getvalue()
    assert [value.tag for value in rows[0].summary.value] == ["val/loss", "large", "small"]
