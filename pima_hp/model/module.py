"""The LightningModule: one network or M stacked ones, one optimizer, the scores of every epoch."""

import inspect
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import lightning as L
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pima_hp.config.build import build, class_of
from pima_hp.data.datamodule import Batch
from pima_hp.data.preprocessing import Preprocessing
from pima_hp.errors import CheckpointError, InputError, RowsError
from pima_hp.model.checkpoint import read_checkpoint
from pima_hp.model.metrics import epoch_scores, final_scores
from pima_hp.model.mlp import MLP
from pima_hp.seeds import Role, seeded, stream

Scores = dict[str, NDArray[np.float64]]

_WATCHED = (("val", ""), ("train", "_end"))
"""Split and suffix of the keys for each validation loader of the datamodule."""

_LOSSES = ("loss", "loss_end")


class MLPClassifier(L.LightningModule):
    """Binary classifier trained on cross entropy, scored every epoch.

    Logged once an epoch, against the epoch (from 1): `train/accuracy` and `train/loss` (running values, as Keras
    reports them: each row scored just before the update that uses it), `train/accuracy_end` and `train/loss_end` (all
    training rows with the weights at the end of the epoch), `val/accuracy`, `val/loss`, `lr`. For M networks the mean
    is logged; `history` has the value of each.

    The arguments are plain values, so that a checkpoint loads with `weights_only=True` and nothing else given.

    Args:
        model: `_target_` and arguments of a network that maps (B, D) features to (B,) logits, or (M, B, D) to (M, B).
        optimizer: `_target_` and hyperparameters.
        scheduler: `_target_` and arguments of a learning-rate scheduler, stepped once an epoch.
        monitor: the score that `ReduceLROnPlateau` gets.
        init_seed: seed of the initial weights; a list of M seeds builds M networks.
        dtype: of the parameters.

    Attributes:
        history: epoch (from 1) -> key -> score, () or (M,), in full precision; what Lightning logs is float32.
        diverged_in: the first epoch with a loss that is not finite, infinity if there is none; () or (M,).
        preprocessing: fitted transform of raw rows, from the datamodule or the checkpoint.
        trained_on: `identity` of that datamodule.
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
        self.model = build_network(model, init_seed, dtype)
        self.optimizer, self.scheduler, self.monitor = optimizer, scheduler, monitor
        self.history: dict[int, Scores] = {}
        self.preprocessing: Preprocessing | None = None
        self.trained_on: dict[str, Any] | None = None
        self._shape = np.shape(init_seed)  # of a score: () or (M,)
        self.diverged_in = np.full(self._shape, np.inf)
        self._scalar_dtype: torch.dtype = getattr(torch, dtype)
        self._lr = 0.0
        self._kept: dict[tuple[str, str], list[Batch]] = defaultdict(list)  # logits and labels of an epoch
        self._watched: Scores = {}
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
        """Return what the optimizer updates."""
        return self.parameters()

    def configure_optimizers(self) -> Any:
        """Return the optimizer, and the scheduler when there is one."""
        optimizer = build(self.optimizer, torch.optim.Optimizer, self.trained_parameters())
        if self.scheduler is None:
            return optimizer
        scheduler = build(self.scheduler, LRScheduler, optimizer)
        if isinstance(scheduler, ReduceLROnPlateau):
            steps = {"scheduler": scheduler, "monitor": self.monitor, "strict": False}
            return {"optimizer": optimizer, "lr_scheduler": steps}
        return [optimizer], [scheduler]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step with the dtype of the parameters as torch's default: scalars of an optimizer, as NAdam's, get it too."""
        with default_dtype(self._scalar_dtype):
            super().optimizer_step(*args, **kwargs)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step the scheduler; `ReduceLROnPlateau` gets the score in full precision from `history`."""
        if isinstance(scheduler, ReduceLROnPlateau):
            scores = self.history.get(self.current_epoch + 1, {})
            scheduler.step(float(scores.get(self.monitor, metric)))  # not rounded
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
        self._lr = float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002 -- Lightning's signature
        """Return the loss of one update; of M networks the sum."""
        features, labels = batch
        logits = self(features)
        self._kept["train", ""].append((logits.detach(), labels))
        if logits.ndim == 1:
            return F.binary_cross_entropy_with_logits(logits, labels)
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / labels.shape[-1]

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:  # noqa: ARG002
        """Predict the watched rows (loader 0) and the training rows (loader 1)."""
        features, labels = batch
        self._kept[_WATCHED[dataloader_idx]].append((self(features), labels))

    def test_step(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Predict the test rows."""
        features, labels = batch
        self._kept["test", ""].append((self(features), labels))

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return the probabilities of the positive class, (B,) or (M, B)."""
        probabilities: Tensor = self(batch[0]).sigmoid()
        return probabilities

    def on_validation_epoch_end(self) -> None:
        """Score and log what validation has predicted."""
        self._watched = {}
        for split, suffix in _WATCHED:
            self._watched |= self._score(split, suffix)
        self.log("step", float(self.current_epoch + 1))  # the logger's x-axis: epochs, not updates

    def on_test_epoch_end(self) -> None:
        """Score and log the test rows."""
        logits, labels = self._predicted("test", "")
        self.log_dict({f"test/{name}": score.mean() for name, score in final_scores(logits, labels).items()})

    def on_train_epoch_end(self) -> None:
        """Score and log the epoch; stop a run that diverged."""
        if not self._kept["train", ""]:  # stopped before the first batch
            return
        epoch, lr = self.current_epoch + 1, np.full(self._shape, self._lr)
        self.log_dict({"lr": self._lr, "step": float(epoch)})
        self.history[epoch] = {**self._score("train", ""), **self._watched, "lr": lr}
        self._watched = {}
        losses = [value for key, value in self.history[epoch].items() if key.partition("/")[2] in _LOSSES]
        self.diverged_in = np.minimum(self.diverged_in, np.where(np.isfinite(losses).all(0), np.inf, epoch))
        if np.isfinite(self.diverged_in).all():
            self.trainer.should_stop = True

    def on_train_end(self) -> None:
        """Complete the last epoch."""
        self._add_what_others_logged()

    def _add_what_others_logged(self) -> None:
        """Add to `history` what a subclass or a callback has logged in the last epoch."""
        logged = dict(self.trainer.callback_metrics)
        fresh = {key: value for key, value in logged.items() if value is not self._logged.get(key) and key != "step"}
        self._logged = logged  # what is not logged again stays there, the same object
        if self.history:
            last = self.history[max(self.history)]
            last |= {
                key if "/" in key else f"logged/{key}": np.full(self._shape, float(value))
                for key, value in fresh.items()
                if key not in last
            }

    def _predicted(self, split: str, suffix: str) -> Batch:
        """Return logits and labels of an epoch, (n,) or (M, n), in at least single precision."""
        kept = self._kept.pop((split, suffix))
        logits, labels = (torch.cat(parts, dim=-1) for parts in zip(*kept, strict=True))
        return (logits, labels) if logits.dtype == torch.float64 else (logits.float(), labels.float())

    def _score(self, split: str, suffix: str) -> Scores:
        """Log the scores of an epoch and return them."""
        if not self._kept[split, suffix]:
            return {}
        scores = {
            f"{split}/{name}{suffix}": score for name, score in epoch_scores(*self._predicted(split, suffix)).items()
        }
        self.log_dict({key: score.mean() for key, score in scores.items()}, prog_bar=not suffix)
        return {key: score.detach().double().cpu().numpy() for key, score in scores.items()}

    @torch.no_grad()
    def predict(self, rows: pd.DataFrame) -> Tensor:
        """Return the probability of the positive class, (n,), for a frame of raw rows.

        Raises:
            InputError: it lacks a column or a number, or the module has not been trained.
        """
        if self.preprocessing is None:
            raise InputError("predict: the module has no fitted preprocessing; train it, or load it from a checkpoint")
        features = self.preprocessing.rows(rows).to(next(self.parameters()))
        if not torch.isfinite(features).all():
            raise RowsError(f"rows: must hold numbers within the range of {features.dtype}; found larger ones")
        was_training = self.training
        self.eval()
        probabilities: Tensor = self(features).sigmoid()
        self.train(was_training)
        return probabilities

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the preprocessing of raw rows, and what it was fitted to."""
        checkpoint["trained_on"] = self.trained_on
        checkpoint["preprocessing"] = None if self.preprocessing is None else self.preprocessing.model_dump()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the preprocessing of raw rows, and what it was fitted to."""
        self.trained_on = checkpoint.get("trained_on")
        stored = checkpoint.get("preprocessing")
        self.preprocessing = None if stored is None else Preprocessing.model_validate(stored)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | os.PathLike[str], map_location: str | torch.device = "cpu"
    ) -> Self:
        """Return the module of a local checkpoint, in evaluation mode; nothing else is needed.

        Lightning's own way would read other files, and call a function that the checkpoint names.

        Raises:
            CheckpointError: it is no checkpoint of this class.
        """
        checkpoint = read_checkpoint(checkpoint_path)
        try:
            module = cls(**checkpoint["hyper_parameters"])
            module.on_load_checkpoint(checkpoint)
            module.load_state_dict(checkpoint["state_dict"])
        except Exception as error:
            reason = " ".join(str(error).split())
            path = f"{str(checkpoint_path)!r:.200}"
            raise CheckpointError(f"{path}: must be a checkpoint of {cls.__name__}: {reason:.200}") from error
        return module.to(map_location).eval()


def build_network(node: Mapping[str, Any], init_seed: int | Sequence[int], dtype: str) -> nn.Module:
    """Return a network with initial weights from the `init` stream, of each member for a stacked `MLP`.

    Args:
        node: `_target_` and arguments; `n_features` and `activation` are dropped where the class does not take them.
        init_seed: one, or one a member.
        dtype: of the weights.
    """
    found = class_of(node.get("_target_"), nn.Module)
    taken = inspect.signature(found).parameters
    arguments = {key: value for key, value in node.items() if key in taken or key not in ("n_features", "activation")}
    seeds = [init_seed] if isinstance(init_seed, int) else init_seed
    with default_dtype({"float32": torch.float32, "float64": torch.float64}[dtype]), seeded(seeds[0], Role.INIT):
        if "activation" in arguments:
            arguments["activation"] = build(arguments["activation"], nn.Module)
        network = build(arguments, nn.Module)
        if isinstance(network, MLP) and network.n_members is not None:
            network.reset_parameters([stream(seed, Role.INIT) for seed in seeds])
    return network


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Let torch make floating-point tensors of this type in a block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
