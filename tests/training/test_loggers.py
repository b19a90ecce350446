"""What TensorBoard shows of a run that Lightning trains, while it trains and at its end."""

import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

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
