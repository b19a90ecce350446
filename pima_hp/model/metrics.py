"""Scores of the predictions of one network, by torchmetrics."""

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
