"""The TensorBoard logger of a run that Lightning trains."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import loggers

from pima_hp.run import tag_of
from pima_hp.training.interruption import SIGNALS


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let a signal wait until the block is left.

    TensorBoard hands its events to a thread through a queue. A signal handler that raises in the midst of that
    can leave the thread waiting for ever, and the command with it when it closes the file.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = {signum: signal.signal(signum, lambda signum, _: arrived.append(signum)) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        for late in arrived:
            signal.raise_signal(late)


class TensorBoardLogger(loggers.TensorBoardLogger):
    """Lightning's logger, whose writing no signal interrupts, and which shows an epoch within a second."""

    def __init__(self, *args: Any, flush_secs: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, flush_secs=flush_secs, **kwargs)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the scores of an epoch."""
        with _signals_held_back():
            super().log_metrics({tag_of(key): value for key, value in metrics.items()}, step)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Log settings and final scores."""
        with _signals_held_back():
            super().log_hyperparams(*args, **kwargs)

    def finalize(self, status: str) -> None:
        """Close the file."""
        with _signals_held_back():
            super().finalize(status)
