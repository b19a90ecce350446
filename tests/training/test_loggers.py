"""What a TensorBoard that is open shows of a run that Lightning is still training."""

import time
from pathlib import Path

from pima_hp.request import LoggerSection
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pima_hp.training.loggers import loggers_of


def test_an_epoch_is_on_disk_within_two_seconds_while_the_run_goes_on(tmp_path: Path) -> None:
    (logger,) = loggers_of("relu, seed 0, ab12cd", tmp_path, LoggerSection(tensorboard=True, csv=False, per_run=False))
    for epoch in (1, 2, 3):
        logger.log_metrics({"val/loss": 1 / epoch, "lr": 0.1}, epoch)
    time.sleep(2)
    found = EventAccumulator(str(tmp_path / "tensorboard" / "relu, seed 0, ab12cd")).Reload()
    for tag in ("val/loss", "~lr"):
        assert [one.step for one in found.Scalars(tag)] == [1, 2, 3]
    logger.finalize("success")
