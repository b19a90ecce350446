"""Scores of the predictions of one network (n,), or of M networks (M, n): metrics over the last axis."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Metric = Callable[[Tensor, Tensor], Tensor]


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the fraction of rows whose class is predicted, probability above 0.5, in double precision."""
    return ((logits.sigmoid() > 0.5) == (labels > 0.5)).double().mean(-1)  # torchmetrics rounds to single precision


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross entropy in nats."""
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(-1)


def f1(logits: Tensor, labels: Tensor) -> Tensor:
    """Return F1 of the positive class; 0 where no row is positive or predicted to be."""
    predicted, positive = logits.sigmoid() > 0.5, labels > 0.5
    n_hits, n_either = (predicted & positive).sum(-1), predicted.sum(-1) + positive.sum(-1)
    return 2 * n_hits.double() / n_either.clamp(min=1)  # torchmetrics rounds, and cannot do one member


def brier(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean squared error of the probability."""
    return (logits.sigmoid() - labels).square().mean(-1)


def auroc(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the area under the ROC curve; NaN where one class is missing.

    This is the Mann-Whitney statistic with ties counted half, equal to the area by trapezoids.
    """
    positive = labels > 0.5
    n_positive = positive.sum(-1).double()
    return _wins(logits.sigmoid(), positive) / (n_positive * (labels.shape[-1] - n_positive))


# The metrics of every epoch; a line here reaches curves, ledger, frame and TensorBoard.
EPOCH_METRICS: dict[str, Metric] = {"accuracy": accuracy, "loss": loss}

# The metrics of the last weights.
FINAL_METRICS: dict[str, Metric] = {"accuracy": accuracy, "loss": loss, "auroc": auroc, "f1": f1, "brier": brier}


def scored(keys: str, metrics: Mapping[str, Metric], logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the score, () or (M,), of each metric from logits and labels (n,) or (M, n), in at least single precision.

    Args:
        keys: of the scores, `val/{}` for `val/accuracy`.
        metrics: `EPOCH_METRICS` or `FINAL_METRICS`.
        logits: of the rows.
        labels: zeros and ones.
    """
    if logits.dtype != torch.float64:
        logits, labels = logits.float(), labels.float()
    return {keys.format(name): metric(logits, labels) for name, metric in metrics.items()}


def _wins(probabilities: Tensor, positive: Tensor) -> Tensor:
    """Count the pairs of a positive and a negative row where the positive is more probable, (M,); ties count half.

    Non-negative floats are ordered like their bits. With the class as the last bit, one sort of integers, which numpy
    does in vector registers, gives the order of the classes: ten times faster than ranks by torch.
    """
    bits = probabilities.contiguous().view({4: torch.int32, 8: torch.int64}[probabilities.element_size()]) * 2
    wins = torch.zeros(positive.shape[:-1], dtype=torch.float64, device=probabilities.device)
    for last in (True, False):  # whether positive rows come last, or first, among those of equal probability
        ordered = torch.from_numpy(np.sort((bits + (positive == last)).cpu().numpy(), axis=-1)).to(probabilities.device)
        is_positive = ((ordered & 1) == 1) == last
        negatives_before = (~is_positive).cumsum(-1, dtype=torch.int32)
        wins += (negatives_before * is_positive).sum(-1).double() / 2
    return wins
