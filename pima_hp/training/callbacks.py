"""Lightning callbacks of this project."""

import lightning as L

from pima_hp.training.progress import Progress


class EpochProgress(L.Callback):
    """Move the bar by one epoch of the runs that train together."""

    def __init__(self, progress: Progress, n_runs: int = 1) -> None:
        self.progress, self.n_runs = progress, n_runs

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Count the epoch."""
        self.progress.advance(self.n_runs / max(trainer.max_epochs or 1, 1))
