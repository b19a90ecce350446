"""What TensorBoard shows of a run that Lightning trains, while it trains and at its end."""

import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from pima_hp.training.loggers import TensorBoardLogger


@pytest.fixture
def logger(tmp_path: Path) -> TensorBoardLogger:
    return TensorBoardLogger(tmp_path, name="relu, seed 0, ab12cd", version="", default_hp_metric=False)


def _read(logger: TensorBoardLogger) -> Any:
    return EventAccumulator(logger.log_dir).Reload()


def test_an_epoch_is_on_disk_within_two_seconds_while_the_run_goes_on(logger: TensorBoardLogger) -> None:
    for epoch in (1, 2, 3):
        logger.log_metrics({"val/loss": 1 / epoch, "lr": 0.1}, epoch)
    time.sleep(2)
    for tag in ("val/loss", "~lr"):
        assert [one.step for one in _read(logger).Scalars(tag)] == [1, 2, 3]
    logger.finalize("success")


def test_the_columns_of_hparams_are_in_a_file_of_their_own(logger: TensorBoardLogger) -> None:
    logger.log_hyperparams({"optimizer": "adam"})
    logger.log_metrics({"val/loss": 0.5}, 1)
    logger.log_hyperparams({"batch.size": 16, "optimizer": "adam"}, {"~final/val/loss": 0.4}, step=3)
    logger.finalize("success")
    found = _read(logger)
    assert [(one.step, one.value) for one in found.Scalars("~final/val/loss")] == [(3, pytest.approx(0.4))]
    tags = {metadata.EXPERIMENT_TAG, metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG}
    assert set(found.summary_metadata) >= tags
    (columns,) = Path(logger.log_dir).glob("*.pima_hp_columns")
    assert columns.read_bytes().count(b"batch.size") == 1
    columns.unlink()
    assert set(_read(logger).summary_metadata) & tags == tags - {metadata.EXPERIMENT_TAG}
    assert (Path(logger.log_dir) / "hparams.yaml").read_text() == "optimizer: adam\nbatch.size: 16\n"
