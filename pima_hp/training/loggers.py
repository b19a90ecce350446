"""The TensorBoard logger of a run that Lightning trains."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import loggers
from torch.utils.tensorboard.summary import hparams
from torch.utils.tensorboard.writer import FileWriter

from pima_hp.run import tag_of
from pima_hp.training.interruption import signals_deferred


class TensorBoardLogger(loggers.TensorBoardLogger):
    """Lightning's logger, whose writing no signal interrupts.

    TensorBoard passes events to a thread through a queue. A signal handler that raises while it does can deadlock the
    thread, and then the process when it closes the file. The columns of the HParams tab are in a file of their own,
    since they change when a study gets more runs.
    """

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the scores of an epoch."""
        with signals_deferred():
            super().log_metrics({tag_of(key): value for key, value in metrics.items()}, step)

    def log_hyperparams(self, params: Any, metrics: dict[str, Any] | None = None, step: int | None = None) -> None:
        """Log settings and final scores."""
        super().log_hyperparams(params)
        if not metrics:
            return
        columns, start, end = hparams(params, metrics)
        self.log_metrics(metrics, step)
        with signals_deferred():
            for summary in (start, end):
                self.experiment._get_file_writer().add_summary(summary, step)
            separate = FileWriter(self.log_dir, filename_suffix=".pima_hp_columns")
            separate.add_summary(columns)
            separate.close()

    def finalize(self, status: str) -> None:
        """Close the file."""
        with signals_deferred():
            super().finalize(status)
