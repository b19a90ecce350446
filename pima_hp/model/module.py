"""The LightningModule: one network or M stacked ones, one optimizer, the scores of every epoch, predictions."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import lightning as L
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import MeanSquaredError, MetricCollection
from torchmetrics.classification import BinaryAccuracy, BinaryAUROC, BinaryF1Score

from pima_hp.config.build import build
from pima_hp.data.datamodule import Batch, PimaDataModule
from pima_hp.data.prepared import Preprocessing
from pima_hp.errors import CheckpointError, InputError
from pima_hp.model.metrics import EPOCH_METRICS, FINAL_METRICS, scored
from pima_hp.model.mlp import build_network, default_dtype

Scores = dict[str, NDArray[np.float64]]  # key -> score, () or (M,)

# Keys of the scores from each validation loader of the datamodule.
VALIDATION_KEYS = ("val/{}", "train/{}_end")


class MLPClassifier(L.LightningModule):
    """Binary classifier trained on cross entropy, scored every epoch.

    Logged once an epoch, against the epoch (from 1): `train/accuracy` and `train/loss` (running values, as Keras
    reports them: each row scored just before the update that uses it), `train/accuracy_end` and `train/loss_end` (all
    training rows with the weights at the end of the epoch), `val/accuracy`, `val/loss`, `lr`.

    The arguments are plain values, so that a checkpoint loads with `weights_only=True` and nothing else given.

    Args:
        model: `_target_` and arguments of a network that maps (B, D) features to (B,) logits, or (M, B, D) to (M, B).
        optimizer: `_target_` and hyperparameters.
        scheduler: `_target_` and arguments of a learning-rate scheduler, stepped once an epoch.
        monitor: the score that `ReduceLROnPlateau` gets.
        init_seed: seed of the initial weights; a list of M seeds for M networks.
        dtype: of the parameters.

    Attributes:
        history: epoch (from 1) -> key -> score, () or (M,), in full precision; what Lightning logs is float32.
        scores: of the last weights: `train/auroc`, `val/brier`, ...; () or (M,).
        diverged_in: the first epoch with a loss that is not finite, infinity if there is none; () or (M,).
        preprocessing: fitted transform of raw rows, from the datamodule or the checkpoint.
        trained_on: `identity` of that datamodule.
        n_epochs: that the checkpoint was trained for, from which the module was loaded.
    """

    def __init__(
        self,
        model: dict[str, Any],
        optimizer: dict[str, Any],
        scheduler: dict[str, Any] | None = None,
        monitor: str = "val/loss",
        init_seed: int | list[int] = 0,
        dtype: str = "float32",
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.optimizer, self.scheduler, self.monitor = optimizer, scheduler, monitor
        self._dtype_of_scalars: torch.dtype = getattr(torch, dtype)
        self.model = build_network(model, init_seed, self._dtype_of_scalars)
        self.history: dict[int, Scores] = {}
        self.scores: Scores = {}
        self.diverged_in = np.full(np.shape(init_seed), np.inf)
        self.preprocessing: Preprocessing | None = None
        self.trained_on: dict[str, Any] | None = None
        self.n_epochs = 0
        self.lr = 0.0  # of the epoch
        self._kept: dict[str, list[Batch]] = defaultdict(list)  # keys -> logits and labels of an epoch
        self._validation: Scores = {}
        self._logged: dict[str, Tensor] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; bypass `nn.Module.__setattr__` for one that Lightning sets 30 times a step."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, D) features to (B,) logits, or (M, B, D) to (M, B)."""
        logits: Tensor = self.model(features)
        return logits

    def trained_parameters(self) -> Iterable[nn.Parameter]:
        """Return the tensors that the optimizer updates."""
        return self.parameters()

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[Any]]:
        """Return the optimizer, and the scheduler when there is one."""
        optimizer = build(self.optimizer, torch.optim.Optimizer, self.trained_parameters())
        schedulers = [build(self.scheduler, LRScheduler, optimizer)] if self.scheduler else []
        return [optimizer], [{"scheduler": each, "monitor": self.monitor, "strict": False} for each in schedulers]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step with the dtype of the parameters as torch's default: scalars of an optimizer, as NAdam's, get it too."""
        with default_dtype(self._dtype_of_scalars):
            super().optimizer_step(*args, **kwargs)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step the scheduler; `ReduceLROnPlateau` gets the score in full precision from `history`."""
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(float(self.history.get(self.current_epoch + 1, {}).get(self.monitor, metric)))
        else:
            scheduler.step()

    def on_fit_start(self) -> None:
        """Keep the preprocessing of the datamodule for `predict` and for checkpoints."""
        datamodule = getattr(self.trainer, "datamodule", None)
        self.preprocessing = getattr(datamodule, "preprocessing", None)
        self.trained_on = getattr(datamodule, "identity", None)

    def on_train_epoch_start(self) -> None:
        """Note the learning rate, which schedulers change before the epoch ends."""
        self._add_what_others_logged()
        self.lr = float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002 -- Lightning's signature
        """Return the loss of one update; of M networks the sum."""
        features, labels = batch
        logits = self(features)
        self._kept["train/{}"].append((logits.detach(), labels))
        if logits.ndim == 1:
            return F.binary_cross_entropy_with_logits(logits, labels)
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / labels.shape[-1]

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        """Predict the validation rows (loader 0) and the training rows (loader 1)."""
        features, labels = batch
        self._kept[VALIDATION_KEYS[dataloader_idx]].append((self(features), labels))

    def on_test_start(self) -> None:
        """Make the metrics of the test rows; training has its own, which score M networks in double precision."""
        metrics = {"accuracy": BinaryAccuracy(), "auroc": BinaryAUROC(), "f1": BinaryF1Score()}
        self.test_metrics = MetricCollection({**metrics, "brier": MeanSquaredError()}, prefix="test/").to(self.device)

    def test_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Score the test rows by their probabilities: torchmetrics takes some logits for probabilities."""
        logits, labels = self(batch[0]).double(), batch[1].double()
        self.test_metrics.update(logits.sigmoid(), labels.int())
        self._kept["test/{}"].append((logits, labels))
        self.log("test/loss", F.binary_cross_entropy_with_logits(logits, labels))

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return the probabilities of the positive class, (B,) or (M, B)."""
        probabilities: Tensor = self(batch[0]).sigmoid()
        return probabilities

    def on_validation_epoch_end(self) -> None:
        """Score and log the predictions of validation."""
        of_val, of_train = map(self._score, VALIDATION_KEYS)
        self._validation = of_val | of_train
        self.log("step", float(self.current_epoch + 1))  # the logger's x-axis: epochs, not updates

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test rows; no AUROC where they have one class, for which torchmetrics gives 0."""
        scores, labels = self.test_metrics.compute(), torch.cat([labels for _, labels in self._kept.pop("test/{}")])
        self.log_dict(scores if len(labels.unique()) == 2 else {**scores, "test/auroc": torch.nan})

    def on_train_epoch_end(self) -> None:
        """Score and log the epoch; stop a run that diverged."""
        if self._kept["train/{}"]:  # else stopped before the first batch
            self.log_dict({"lr": self.lr, "step": float(self.current_epoch + 1)})
            self.trainer.should_stop |= self.score_epoch(self.current_epoch + 1)

    def score_epoch(self, epoch: int) -> bool:
        """Score the updates of an epoch, add all its scores to `history`, and return whether all networks diverged."""
        lr = np.full(self.diverged_in.shape, self.lr)
        self.history[epoch] = scores = {**self._score("train/{}"), **self._validation, "lr": lr}
        self._validation = {}
        self._check_losses([score for key, score in scores.items() if key.endswith(("/loss", "/loss_end"))], epoch)
        return bool(np.isfinite(self.diverged_in).all())

    def _check_losses(self, losses: list[NDArray[np.float64]], epoch: int) -> None:
        self.diverged_in = np.minimum(self.diverged_in, np.where(np.isfinite(losses).all(0), np.inf, epoch))

    def on_train_end(self) -> None:
        """Complete the last epoch, and score the last weights."""
        self._add_what_others_logged()
        data, precision = getattr(self.trainer, "datamodule", None), self.trainer.precision_plugin
        if isinstance(data, PimaDataModule):
            with precision.forward_context():
                self.score_splits(
                    {split: precision.convert_input(data.tensors(split)) for split in data.section.splits}
                )

    def _add_what_others_logged(self) -> None:
        """Add to `history` what a subclass or a callback has logged in the last epoch."""
        before, self._logged = self._logged, dict(self.trainer.callback_metrics)
        if self.history:
            last = self.history[max(self.history)]
            for key, value in self._logged.items():
                if key not in last and key != "step" and value is not before.get(key):  # else of an earlier epoch
                    last[key if "/" in key else f"logged/{key}"] = np.array(float(value))

    def _score(self, keys: str) -> Scores:
        """Score the predictions of an epoch that were kept under some keys, log the scores and return them."""
        if not (kept := self._kept.pop(keys, [])):
            return {}
        logits, labels = (torch.cat(parts, dim=-1) for parts in zip(*kept, strict=True))
        scores = scored(keys, EPOCH_METRICS, logits, labels)
        self.log_dict(scores, prog_bar=not keys.endswith("_end"))
        return _arrays(scores)

    @torch.inference_mode()
    def score_splits(self, splits: Mapping[str, Batch]) -> None:
        """Score the last weights on each split."""
        self.eval()
        for split, (features, labels) in splits.items():
            self.scores |= _arrays(scored(f"{split}/{{}}", FINAL_METRICS, self(features), labels))
        self.train()
        self._check_losses([self.scores["train/loss"], self.scores["val/loss"]], max(self.history, default=0))

    @torch.no_grad()
    def predict(self, rows: pd.DataFrame) -> Tensor:
        """Return the probability of the positive class, (n,), for a frame of raw rows.

        Raises:
            InputError: it lacks a column or a number, or the module has not been trained.
        """
        if self.preprocessing is None:
            raise InputError("predict: the module has no fitted preprocessing; train it, or load it from a checkpoint")
        features, was_training = self.preprocessing.rows(rows).to(next(self.parameters())), self.training
        self.eval()
        probabilities: Tensor = self(features).sigmoid()
        self.train(was_training)
        return probabilities

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the preprocessing of raw rows, and what it was fitted to."""
        checkpoint["trained_on"] = self.trained_on
        checkpoint["preprocessing"] = self.preprocessing and self.preprocessing.model_dump()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the preprocessing of raw rows, and what it was fitted to."""
        self.trained_on, self.n_epochs = checkpoint.get("trained_on"), int(checkpoint.get("epoch", -1)) + 1
        stored = checkpoint.get("preprocessing")
        self.preprocessing = stored and Preprocessing.model_validate(stored)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | os.PathLike[str], map_location: str | torch.device = "cpu"
    ) -> Self:
        """Return the module of a local checkpoint, in evaluation mode; nothing else is needed.

        Lightning's own method would read other files, and call a function that the checkpoint names.

        Raises:
            CheckpointError: it is no checkpoint of this class, or names a class that is not imported.
        """
        try:
            checkpoint = torch.load(Path(checkpoint_path), map_location="cpu", weights_only=True)
            module = cls(**checkpoint["hyper_parameters"])
            module.on_load_checkpoint(checkpoint)
            module.load_state_dict(checkpoint["state_dict"])
        except Exception as error:
            rule = f"{str(checkpoint_path)!r:.200}: must be a local checkpoint of {cls.__name__}"
            found = " ".join(f"{type(error).__name__}: {error}".split())  # torch advises to execute it
            raise CheckpointError(f"{rule}; found {found.partition('. ')[0]:.300}") from error
        return module.to(map_location).eval()


def _arrays(scores: Mapping[str, Tensor]) -> Scores:
    return {key: score.double().cpu().numpy() for key, score in scores.items()}
