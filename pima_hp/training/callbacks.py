"""Lightning callbacks of this project."""

import lightning as L

from pima_hp.training.progress import Progress


class EpochProgress(L.Callback):
    """Move the bar by one epoch of one run."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:  # noqa: ARG002
        """Count the epoch."""
        self.progress.advance(1 / max(trainer.max_epochs or 1, 1))
