"""The scores of `pima_hp.model.metrics` for many networks at once, by the same formulas (a test compares them)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def stacked_epoch_scores(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return accuracy (M,) and loss (M,) as `epoch_scores` defines them, from (M, n) logits and labels."""
    correct = (logits.sigmoid() > 0.5) == (labels > 0.5)
    loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1)
    return correct.double().mean(1), loss


def stacked_final_scores(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the scores of `final_scores`, each (M,), from (M, n) logits and labels.

    AUROC is the Mann-Whitney statistic with ties counted half, which is the area that torchmetrics
    sums by trapezoids.
    """
    accuracy, loss = stacked_epoch_scores(logits, labels)
    probabilities = logits.sigmoid()
    positive, predicted = labels > 0.5, probabilities > 0.5
    hits = (positive & predicted).sum(1).double()
    ordered = probabilities.sort(dim=1).values
    below = torch.searchsorted(ordered, probabilities)
    up_to = torch.searchsorted(ordered, probabilities, right=True)
    ranks = (below + up_to + 1).double() / 2
    n_positive = positive.sum(1).double()
    n_negative = labels.shape[1] - n_positive
    wins = (ranks * positive).sum(1) - n_positive * (n_positive + 1) / 2
    return {
        "accuracy": accuracy,
        "loss": loss,
        "auroc": wins / (n_positive * n_negative),  # 0 / 0, NaN, when one class is missing
        "f1": 2 * hits / (positive.sum(1) + predicted.sum(1)).clamp(min=1),
        "brier": (probabilities - labels).square().mean(1),
    }
