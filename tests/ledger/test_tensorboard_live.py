"""What a TensorBoard that is open shows of a sweep that is running."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.context import RequestContext
from tensorboard.data import server_ingester
from tensorboard.data.grpc_provider import GrpcDataProvider
from tensorboard.data.provider import RunTagFilter
from tensorboard.plugins.hparams import metadata
from tensorboard.util import grpc_util

from pima_hp.config.flat import columns_of
from pima_hp.ledger.names import labels_of
from pima_hp.ledger.tensorboard import STUDY_FILE, STUDY_FILES, write_study
from tests.ledger.conftest import LEAKY, configuration_of


def test_a_sweep_that_is_running_writes_only_configurations_that_have_new_runs(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    planned = [configuration_of(trainer__max_epochs=6, optimizer__lr=lr) for lr in (0.001, 0.5, 0.7)]
    planned.append(configuration_of(trainer__max_epochs=6, activation=LEAKY, batch__size="full"))
    settings = {one.id: columns_of(one.model_dump(by_alias=True)) for one in planned}
    labels = labels_of(settings)
    written: dict[str, Any] = {}
    frame = frame.sort_values(["activation", "optimizer.lr"], ascending=False)  # 1, 7 and 4 runs
    for n_runs, n_changed in ((0, 0), (4, 2), (4, 0), (9, 2), (12, 1)):
        assert write_study(tmp_path / "tb", frame[:n_runs], labels, settings, written) == n_changed
    shown = {path.parent.name: path.name for path in (tmp_path / "tb").rglob(STUDY_FILES)}
    assert shown == {
        "relu, lr 0.001, batch 16": STUDY_FILE.format(7),
        "relu, lr 0.5, batch 16": STUDY_FILE.format(1),
        "leaky_relu, lr 0.001, batch full": STUDY_FILE.format(3),
    }
    assert write_study(tmp_path / "tb", frame, labels, settings) == 0, "the same as all at once"


def test_the_columns_of_hparams_are_those_of_all_that_is_planned(tmp_path: Path, frame: pd.DataFrame) -> None:
    planned = [configuration_of(trainer__max_epochs=6, model__hidden_widths=widths) for widths in ([12, 8], [4])]
    settings = {one.id: columns_of(one.model_dump(by_alias=True)) for one in planned}
    first = frame[frame["config_id"] == planned[0].id]
    write_study(tmp_path / "tb", first, {planned[0].id: "wide"}, settings)
    found = EventAccumulator(str(tmp_path / "tb" / "wide")).Reload()
    content = found.summary_metadata[metadata.EXPERIMENT_TAG].plugin_data.content
    (column,) = metadata.parse_experiment_plugin_data(content).hparam_infos
    assert (column.name, list(column.domain_discrete)) == ("model.hidden_widths", ["12-8", "4"])


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
    relu = frame["config_id"].mode()[0]
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
