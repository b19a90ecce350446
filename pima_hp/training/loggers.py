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

    save = signals_deferred()(loggers.TensorBoardLogger.save)
    finalize = signals_deferred()(loggers.TensorBoardLogger.finalize)

    @signals_deferred()
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the scores of an epoch."""
        super().log_metrics({tag_of(key): value for key, value in metrics.items()}, step)
