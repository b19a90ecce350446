"""Scores of predictions, by torchmetrics for one run and by the same formulas for many at once."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional import mean_squared_error
from torchmetrics.functional.classification import binary_auroc, binary_stat_scores


def epoch_scores(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return `accuracy` (fraction of rows, probability above 0.5) and `loss` (binary cross entropy, nats).

    Args:
        logits: (n,)
        labels: (n,) zeros and ones.
    """
    tp, _, tn, _, _ = binary_stat_scores(logits.sigmoid(), labels.long(), validate_args=False)
    return {
        "accuracy": (tp + tn).double() / len(labels),  # torchmetrics' own accuracy is rounded to single precision
        "loss": F.binary_cross_entropy_with_logits(logits, labels),
    }


def final_scores(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the scores of a trained network on the rows of one split.

    `accuracy`, `loss`, `auroc` (NaN when one class is missing), `f1` (of the positive class) and `brier`
    (mean squared error of the probability).

    Args:
        logits: (n,)
        labels: (n,) zeros and ones.
    """
    probabilities, classes = logits.sigmoid(), labels.long()
    both = bool((classes == 0).any() and (classes == 1).any())
    tp, fp, _, fn, _ = binary_stat_scores(probabilities, classes, validate_args=False)
    scores = {
        **epoch_scores(logits, labels),
        "auroc": binary_auroc(probabilities, classes, validate_args=False) if both else torch.tensor(torch.nan),
        "f1": 2 * tp.double() / (2 * tp + fp + fn).clamp(min=1),
        "brier": mean_squared_error(probabilities, labels),
    }
    return {name: float(score) for name, score in scores.items()}


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
