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
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.context import RequestContext
from tensorboard.data import server_ingester
from tensorboard.data.grpc_provider import GrpcDataProvider
from tensorboard.data.provider import RunTagFilter
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups, metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import grpc_util

from pima_hp.errors import StorageError
from pima_hp.ledger import Ledger
from pima_hp.ledger.ledger import mean, quantiles
from pima_hp.ledger.plan import run_folders
from pima_hp.ledger.tensorboard import (
    COLUMNS_FILE,
    RUN_FILE,
    STUDY_FILE,
    write_events,
)
from pima_hp.run import CURVES, RunStatus, tag_of
from tests.ledger.conftest import FAST, LABELS, LEAKY_FULL, RELU, manifest_of, results_of

METRICS = {"~final/val/auroc": "val auroc", "~final/test/brier": "test brier"}
MANIFEST = manifest_of()


def _read(folder: Path) -> Any:
    return EventAccumulator(str(folder)).Reload()


def _session(found: Any) -> dict[str, Any]:
    content = found.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    hparams = metadata.parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in hparams.items()}


def _columns(found: Any) -> Any:
    content = found.summary_metadata[metadata.EXPERIMENT_TAG].plugin_data.content
    return metadata.parse_experiment_plugin_data(content)


def _state(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("events*")}


def test_a_configuration_is_the_mean_and_band_of_its_runs(tmp_path: Path, frame: pd.DataFrame) -> None:
    frame["val/f1"] = frame["val/accuracy"]  # a metric that some module logs
    write_events(tmp_path, frame, MANIFEST)
    assert {path.parent.name for path in tmp_path.rglob("*.pima_hp_study")} == {*LABELS.values()}
    found = _read(tmp_path / LABELS[RELU.id])
    runs = frame[frame["config_id"] == RELU.id]
    for key in (*CURVES, "val/f1"):
        values = np.stack(runs[key].tolist())
        for tag, expected in (
            (tag_of(key), values.mean(axis=0)),
            (f"~q05/{key}", np.quantile(values, 0.05, axis=0)),
            (f"~q95/{key}", np.quantile(values, 0.95, axis=0)),
        ):
            scalars = found.Scalars(tag)
            assert [scalar.step for scalar in scalars] == list(range(1, 7)), tag
            np.testing.assert_allclose([scalar.value for scalar in scalars], expected, rtol=1e-6)
            ended = float(runs["ended_s"].max())
            np.testing.assert_allclose([scalar.wall_time for scalar in scalars], ended - 12 + 2 * np.arange(1, 7))
    (final,) = found.Scalars("~final/val/auroc")
    assert (final.step, final.value) == (6, pytest.approx(runs["final/val/auroc"].mean()))
    assert not [tag for tag in _read(tmp_path / LABELS[FAST.id]).Tags()["scalars"] if tag.startswith("~q")]


def test_after_a_run_has_diverged_the_mean_is_of_the_others_and_failed_ones_never_count(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    write_events(tmp_path / "tb", frame, MANIFEST)
    found = _read(tmp_path / "tb" / LABELS[LEAKY_FULL.id])
    runs = frame[(frame["config_id"] == LEAKY_FULL.id) & (frame["status"] != "failed")]
    values = np.stack(runs["train/loss"].tolist())
    expected = [*values[:, :3].mean(axis=0), *values[0, 3:]]  # the two diverged in epoch 4
    np.testing.assert_allclose([scalar.value for scalar in found.Scalars("train/loss")], expected, rtol=1e-6)
    upper = [scalar.value for scalar in found.Scalars("~q95/train/loss")]
    np.testing.assert_allclose(upper, [*np.quantile(values[:, :3], 0.95, axis=0), *values[0, 3:]], rtol=1e-6)
    write_events(tmp_path / "gone", frame[frame["run_id"] == runs["run_id"].iloc[1]], MANIFEST)
    found = _read(tmp_path / "gone" / LABELS[LEAKY_FULL.id])
    assert len(found.Scalars("train/loss")) == 3
    assert not [tag for tag in found.Tags()["scalars"] if tag.startswith("~final/")]


def test_bands_are_gaps_where_there_is_no_number_and_warn_of_nothing() -> None:
    values = np.array([[1.0, np.nan, np.inf], [3.0, np.nan, np.inf]])
    np.testing.assert_array_equal(mean(values), [2.0, np.nan, np.inf])
    low, high = quantiles(values)
    np.testing.assert_allclose([low[0], high[0]], [1.1, 2.9])
    assert np.isnan([low[1], high[1]]).all()


def test_the_hparams_tab_has_what_differs_and_the_final_scores(tmp_path: Path, frame: pd.DataFrame) -> None:
    first = frame[frame["config_id"] != LEAKY_FULL.id]  # the columns are those of all that is planned
    write_events(tmp_path / "tb", first, MANIFEST)
    assert _session(_read(tmp_path / "tb" / LABELS[FAST.id])) == {
        "activation": "relu",
        "optimizer.lr": 0.5,
        "batch.size": "16",
    }
    (only,) = (tmp_path / "tb").glob(f"*/{COLUMNS_FILE}")
    columns = _columns(_read(only))
    assert {info.name.tag: info.display_name for info in columns.metric_infos} == METRICS
    assert next(iter(columns.metric_infos)).name.tag == "~final/val/auroc"
    assert [info.name for info in columns.hparam_infos] == ["activation", "optimizer.lr", "batch.size"]
    write_events(tmp_path / "one", frame, manifest_of(FAST))
    main = {"activation": "relu", "optimizer": "adam", "scheduler": "none", "optimizer.lr": 0.5, "batch.size": 16.0}
    (alone,) = (tmp_path / "one").iterdir()
    assert _session(_read(alone)) == main


def test_the_hparams_plugin_itself_shows_every_configuration(tmp_path: Path, frame: pd.DataFrame) -> None:
    for study in ("one", "two"):
        write_events(tmp_path / "outputs" / study, frame, MANIFEST)
    row = frame.iloc[0]
    write_events(tmp_path / "outputs" / "one", frame, MANIFEST, [row["run_id"]])
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "outputs")).Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(tmp_path / "outputs"))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=10)
    request.allowed_statuses.extend([api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_RUNNING])
    groups = list_session_groups.Handler(RequestContext(), context, "", request).run().session_groups
    own = f"one/{LABELS[row['config_id']]}, seed {row['seed']}, {row['run_id'][:12]}"
    assert {group.name for group in groups} == {
        own,
        *(f"{study}/{label}" for study in ("one", "two") for label in LABELS.values()),
    }
    assert {value.name.tag for group in groups for value in group.metric_values} == set(METRICS)


def test_it_is_written_again_only_where_something_changed(tmp_path: Path, frame: pd.DataFrame) -> None:
    folder = tmp_path / "tb"
    relu = folder / LABELS[RELU.id]
    fewer = frame[(frame["config_id"] != RELU.id) | (frame["seed"] < 4)]
    write_events(folder, fewer, MANIFEST)
    before = _state(folder)
    write_events(folder, fewer.copy(), MANIFEST)
    assert _state(folder) == before
    write_events(folder, frame, MANIFEST)
    assert {path.name for path in relu.iterdir()} == {COLUMNS_FILE, STUDY_FILE.format(7)}
    after = _state(folder)
    assert len(after) == len(before) == 4
    assert len(before.items() & after.items()) == 3
    (relu / "notes.txt").write_text("mine")
    write_events(folder, frame, manifest_of(RELU, LEAKY_FULL))
    assert {path.name for path in folder.iterdir()} == {LABELS[RELU.id], "relu, batch 16", "leaky_relu, batch full"}
    assert [path.name for path in relu.iterdir()] == ["notes.txt"]


def test_one_run_on_demand_which_keeps_its_folder_under_another_label(tmp_path: Path, frame: pd.DataFrame) -> None:
    row = frame[frame["config_id"] == RELU.id].iloc[-1]
    for manifest in (MANIFEST, manifest_of(RELU), MANIFEST):
        write_events(tmp_path / "tb", row.to_frame().T, manifest, [row["run_id"]])
    (folder,) = (tmp_path / "tb").iterdir()
    assert folder.name == f"{LABELS[RELU.id]}, seed {row['seed']}, {row['run_id'][:12]}"
    assert {path.name for path in folder.iterdir()} == {RUN_FILE, COLUMNS_FILE}
    found = _read(folder)
    for key in CURVES:
        np.testing.assert_allclose([scalar.value for scalar in found.Scalars(tag_of(key))], row[key], rtol=1e-6)
    for column, value in row.filter(like="final/").dropna().items():
        (final,) = found.Scalars(f"~{column}")
        assert (final.value, final.step) == (pytest.approx(value), 6)
    assert set(_session(found)) == {"activation", "optimizer.lr", "batch.size"}, "the columns of the study"


def test_one_folder_has_the_columns_of_hparams_which_are_those_of_the_study(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    n_runs = (frame["status"] != "failed").sum()
    run_id = frame.loc[frame["config_id"] == RELU.id, "run_id"].iloc[0]
    write_events(tmp_path / "tb", frame[frame["run_id"] == run_id], manifest_of(RELU), [run_id])
    for _ in range(2):
        write_events(tmp_path / "tb", frame, MANIFEST, frame["run_id"])
        (only,) = (tmp_path / "tb").glob(f"*/{COLUMNS_FILE}")
        assert len(_columns(_read(only)).hparam_infos) == 3
        assert len(list((tmp_path / "tb").glob(f"*/{RUN_FILE}"))) == n_runs
    assert only.parent.name == LABELS[RELU.id]


@pytest.mark.parametrize(("status", "n_epochs"), [("stopped early", 4), ("diverged", 3)])
def test_the_curves_of_a_run_end_where_its_training_ended(tmp_path: Path, status: str, n_epochs: int) -> None:
    ledger = Ledger(tmp_path / "study")
    for results in (results_of(RELU, 0, RunStatus(status)), results_of(RELU, 1)):
        ledger.append(results)
    frame = ledger.frame()
    write_events(tmp_path / "run", frame[:1], manifest_of(RELU), [frame["run_id"][0]])
    found = _read(next((tmp_path / "run").iterdir()))
    for key in CURVES:
        assert [scalar.step for scalar in found.Scalars(tag_of(key))] == list(range(1, n_epochs + 1))
    assert ("~final/val/auroc" in found.Tags()["scalars"]) is (status == "stopped early")
    write_events(tmp_path / "tb", frame, manifest_of(RELU))
    (both,) = (tmp_path / "tb").iterdir()
    means = _read(both).Scalars("val/loss")
    assert [one.value for one in means[n_epochs:]] == pytest.approx(frame["val/loss"][1][n_epochs:].tolist())
    (final,) = _read(both).Scalars("~final/val/auroc")
    assert final.value == pytest.approx(frame["final/val/auroc"][1]), "that of the run that was trained to the end"


def test_the_curves_that_lightning_has_logged_are_not_written_again(tmp_path: Path, frame: pd.DataFrame) -> None:
    row = frame[frame["config_id"] == RELU.id].iloc[0]
    run_ids = [row["run_id"]]
    folder = tmp_path / "tb" / f"relu, seed {row['seed']}, {row['run_id'][:12]}"
    other = tmp_path / "tb" / "relu, seed 0, 123456" / "events.out.tfevents.1795459808.host.1.0"
    for theirs in (folder / other.name, other):
        theirs.parent.mkdir(exist_ok=True, parents=True)
        theirs.write_bytes(b"events")
    write_events(tmp_path / "tb", frame[frame["run_id"].isin(run_ids)], MANIFEST, run_ids)
    assert (folder / other.name).read_bytes() == b"events"
    tags = _read(folder / RUN_FILE).Tags()
    assert all(tag.startswith("~final/") for tag in tags["scalars"])
    assert metadata.SESSION_START_INFO_TAG in tags["tensors"]
    assert run_folders(tmp_path / "tb") == {run_ids[0][:12]: folder, "123456": other.parent}


def test_an_empty_study_and_a_folder_that_cannot_be(tmp_path: Path, frame: pd.DataFrame) -> None:
    write_events(tmp_path / "tb", Ledger(tmp_path / "empty").frame(), MANIFEST)
    assert not (tmp_path / "tb").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        write_events(tmp_path / "file", frame, MANIFEST)


def test_event_files_are_those_of_tensorboards_own_writer(tmp_path: Path, frame: pd.DataFrame) -> None:
    write_events(tmp_path, frame, MANIFEST)
    for path in tmp_path.rglob("events*"):
        stream = io.BytesIO()
        for record in RawEventFileLoader(str(path)).Load():
            RecordWriter(stream).write(record)
        assert path.read_bytes() == stream.getvalue()


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
    runs, label = frame[frame["config_id"] == RELU.id], LABELS[RELU.id]
    for n_runs in (1, 3, 7):
        write_events(tmp_path / "tb", runs[:n_runs], MANIFEST)
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
                run_tag_filter=RunTagFilter(runs=[label], tags=["val/loss"]),
            )
            shown = [one.value for one in found.get(label, {}).get("val/loss", [])]
        assert shown == pytest.approx(expected.tolist(), rel=1e-6)
