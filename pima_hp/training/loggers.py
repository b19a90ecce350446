"""The TensorBoard logger of a run that Lightning trains."""

from collections.abc import Mapping

from lightning.pytorch import loggers

from pima_hp.run import tag_of
from pima_hp.training.interruption import signals_deferred


class TensorBoardLogger(loggers.TensorBoardLogger):
    """Lightning's logger, whose writing no signal interrupts; the HParams tab is written from the ledger.

    TensorBoard passes events to a thread through a queue. A signal handler that raises while it does can deadlock the
    thread, and then the process when it closes the file.
    """

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the scores of an epoch."""
        with signals_deferred():
            super().log_metrics({tag_of(key): value for key, value in metrics.items()}, step)

    def save(self) -> None:
        """Wait until all is in the file; Lightning calls it after each `log_metrics`."""
        with signals_deferred():
            super().save()

    def finalize(self, status: str) -> None:
        """Close the file."""
        with signals_deferred():
            super().finalize(status)
