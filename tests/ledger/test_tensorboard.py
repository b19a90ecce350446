"""What TensorBoard's own reader finds in the folders of a study."""

import io
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pima_hp.settings import columns_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.context import RequestContext
from tensorboard.data import server_ingester
from tensorboard.data.grpc_provider import GrpcDataProvider
from tensorboard.data.provider import RunTagFilter
from tensorboard.plugins.hparams import metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import grpc_util

from pima_hp.errors import StorageError
from pima_hp.ledger import CURVE_COLUMNS, Ledger, events
from pima_hp.ledger.names import distinguishing, labels_of
from pima_hp.ledger.tensorboard import RUN_FILE, STUDY_FILE, STUDY_FILES, remove_runs, write_run, write_study
from pima_hp.run import FINAL, RunStatus
from tests.ledger.conftest import LEAKY, configuration_of, record_of

CURVES = (*CURVE_COLUMNS, "lr")
METRICS = {"~final/val/auroc": "val auroc", "~final/test/brier": "test brier"}
ENDED = 1_795_000_000.0


def _read(folder: Path) -> Any:
    return EventAccumulator(str(folder)).Reload()


def _session(found: Any) -> dict[str, Any]:
    content = found.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}


def _columns(found: Any) -> Any:
    content = found.summary_metadata[metadata.EXPERIMENT_TAG].plugin_data.content
    return metadata.parse_experiment_plugin_data(content)


def _complete(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame with the time at which each run ended and the learning rate of each epoch."""
    rates = [np.where(np.isnan(row["val/loss"]), np.nan, np.linspace(1, 0, 6)) for _, row in frame.iterrows()]
    return frame.assign(ended_s=ENDED + np.arange(len(frame)), duration_s=12.0, lr=pd.Series(rates, dtype=object))


@pytest.fixture
def frame(tmp_path: Path) -> pd.DataFrame:
    relu = configuration_of(trainer__max_epochs=6)
    leaky = configuration_of(trainer__max_epochs=6, activation=LEAKY, batch__size="full")
    single = configuration_of(trainer__max_epochs=6, optimizer__lr=0.5)
    ledger = Ledger(tmp_path / "study")
    ledger.append([record_of(relu, seed) for seed in range(7)])
    ledger.append([record_of(leaky, seed, RunStatus.DIVERGED if seed else RunStatus.COMPLETED) for seed in range(3)])
    ledger.append([record_of(leaky, 9, RunStatus.FAILED), record_of(single, 0)])
    return _complete(ledger.frame())


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
            (key if "/" in key else f"~{key}", values.mean(axis=0)),
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
    assert set(tags) == {*CURVE_COLUMNS, "val/f1", "~lr", *METRICS}


def test_events_have_the_times_at_which_the_epochs_ended(tmp_path: Path, frame: pd.DataFrame) -> None:
    write_study(tmp_path / "tb", frame, {})
    relu = _ids(frame)["relu0.001"]
    last = frame[frame["config_id"] == relu]["ended_s"].max()
    found = _read(tmp_path / "tb" / relu)
    assert [one.wall_time for one in found.Scalars("val/loss")] == pytest.approx([last - 10 + 2 * e for e in range(6)])
    assert found.Scalars("~final/val/auroc")[0].wall_time == last
    assert found.FirstEventTimestamp() == last - 12
    row = frame[frame["status"] == "diverged"].iloc[0]  # in the fourth of six epochs
    write_run(tmp_path / "run", row)
    times = [one.wall_time for one in _read(tmp_path / "run").Scalars("val/loss")]
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
    frame["lr"] = [np.where(np.isnan(row["val/loss"]), np.nan, 0.5) for _, row in frame.iterrows()]
    write_study(tmp_path / "tb", frame, {})
    for config_id in set(frame["config_id"]):
        assert "~lr" not in _read(tmp_path / "tb" / config_id).Tags()["scalars"]


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
    write_run(tmp_path / "outputs" / "one" / "run", _completed(frame))
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "outputs")).Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path / "outputs"))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=10)
    request.allowed_statuses.extend([api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_RUNNING])
    groups = list_session_groups.Handler(RequestContext(), context, "", request).run().session_groups
    configurations = {f"{study}/{config_id}" for study in ("one", "two") for config_id in frame["config_id"]}
    assert {group.name for group in groups} == {"one/run", *configurations}
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
    assert sorted(path.name for path in tmp_path.glob("*") if path.is_dir() and path.name != "study") == [
        "leaky",
        "quick",
        "relu",
        "slope",
    ]
    assert [path.name for path in (tmp_path / "leaky").iterdir()] == ["notes.txt"]


def test_a_sweep_that_is_running_writes_only_configurations_that_have_new_runs(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    planned = [configuration_of(trainer__max_epochs=6, optimizer__lr=lr) for lr in (0.001, 0.5, 0.7)]
    planned.append(configuration_of(trainer__max_epochs=6, activation=LEAKY, batch__size="full"))
    settings = {one.id: columns_of(one.model_dump(by_alias=True)) for one in planned}
    labels, hparams = labels_of(settings), distinguishing(settings)
    written: dict[str, Any] = {}
    frame = frame.sort_values(["activation", "optimizer.lr"], ascending=False)  # 1, 7 and 4 runs
    for n_runs, n_changed in ((0, 0), (4, 2), (4, 0), (9, 2), (12, 1)):
        assert write_study(tmp_path / "tb", frame[:n_runs], labels, hparams, written) == n_changed
    shown = {path.parent.name: path.name for path in (tmp_path / "tb").rglob(STUDY_FILES)}
    assert shown == {
        "relu, lr 0.001, batch 16": STUDY_FILE.format(7),
        "relu, lr 0.5, batch 16": STUDY_FILE.format(1),
        "leaky_relu, lr 0.001, batch full": STUDY_FILE.format(3),
    }
    columns = _columns(_read(tmp_path / "tb" / "relu, lr 0.5, batch 16"))
    assert {info.name for info in columns.hparam_infos} == {"activation", "optimizer.lr", "batch.size"}
    assert write_study(tmp_path / "tb", frame, labels, hparams) == 0, "the same as all at once"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """The data server that TensorBoard starts, reading the folder `tb` once a second."""
    binary, port = server_ingester.get_server_binary(), tmp_path / "port"
    (tmp_path / "tb").mkdir()
    arguments = [f"--logdir={tmp_path / 'tb'}", "--reload=1", "--port=0", f"--port-file={port}", "--die-after-stdin"]
    with subprocess.Popen([binary.path, *arguments], stdin=subprocess.PIPE) as process:
        assert process.stdin
        while not (port.exists() and port.read_text().endswith("\n")):
            assert process.poll() is None
            time.sleep(0.05)
        address = f"localhost:{port.read_text().strip()}"
        stub = server_ingester._make_stub(address, grpc_util.ChannelCredsType.LOCAL)
        yield GrpcDataProvider(address, stub)
        process.stdin.close()


def test_a_tensorboard_that_is_open_shows_the_runs_that_are_added(
    tmp_path: Path, frame: pd.DataFrame, server: Any
) -> None:
    relu = _ids(frame)["relu0.001"]
    runs = frame[frame["config_id"] == relu]
    for n_runs in (1, 3, 7):
        write_study(tmp_path / "tb", runs[:n_runs], {})
        expected = np.stack(runs["val/loss"][:n_runs].tolist()).mean(axis=0)
        shown: list[float] = []
        until = time.monotonic() + 10
        while shown != pytest.approx(expected.tolist(), rel=1e-6) and time.monotonic() < until:
            time.sleep(0.2)
            found = server.read_scalars(
                RequestContext(),
                experiment_id="",
                plugin_name="scalars",
                downsample=100,
                run_tag_filter=RunTagFilter(runs=[relu], tags=["val/loss"]),
            )
            shown = [one.value for one in found.get(relu, {}).get("val/loss", [])]
        assert shown == pytest.approx(expected.tolist(), rel=1e-6)


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
    assert write_run(tmp_path / "run", row)
    assert not write_run(tmp_path / "run", row)
    assert [path.name for path in (tmp_path / "run").iterdir()] == [RUN_FILE]
    found = _read(tmp_path / "run")
    for key in CURVES:
        scalars = found.Scalars(key if "/" in key else f"~{key}")
        np.testing.assert_allclose([scalar.value for scalar in scalars], row[key], rtol=1e-6)
    for column, value in row.filter(like="final/").dropna().items():
        (final,) = found.Scalars(f"~{column}")
        assert (final.value, final.step) == (pytest.approx(value), 6)
    assert set(_session(found)) == {"activation", "optimizer", "scheduler", "optimizer.lr", "batch.size"}
    assert write_run(tmp_path / "run", row, {"optimizer.lr": 0.5})
    assert _session(_read(tmp_path / "run")) == {"optimizer.lr": 0.5}


@pytest.mark.parametrize(("status", "n_epochs", "ended"), [("stopped early", 4, 1), ("diverged", 3, 2)])
def test_the_curves_of_a_run_end_where_its_training_ended(
    tmp_path: Path, status: str, n_epochs: int, ended: int
) -> None:
    configuration = configuration_of(trainer__max_epochs=6)
    ledger = Ledger(tmp_path)
    ledger.append([record_of(configuration, 0, RunStatus(status)), record_of(configuration, 1)])
    frame = _complete(ledger.frame())
    write_run(tmp_path / "run", frame.iloc[0])
    found = _read(tmp_path / "run")
    for key in (*CURVE_COLUMNS, "~lr"):
        assert [scalar.step for scalar in found.Scalars(key)] == list(range(1, n_epochs + 1))
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
    folder = tmp_path / f"relu, seed 0, {row['run_id'][:6]}"
    theirs = folder / "events.out.tfevents.1795459808.host.1.0"
    theirs.parent.mkdir()
    theirs.write_bytes(b"events")
    (folder / "hparams.yaml").write_text("mine")
    assert not write_run(folder, row)
    assert write_run(tmp_path / "relu, seed 0, 123456", row)
    remove_runs(tmp_path, [row["run_id"]])
    assert [path.name for path in folder.iterdir()] == ["hparams.yaml"]
    assert [path.name for path in (tmp_path / "relu, seed 0, 123456").iterdir()] == [RUN_FILE]
    assert write_run(folder, row)


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
