"""Scores over the last axis: those of torchmetrics, and equal for one network and for many."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import binary_accuracy, binary_auroc, binary_f1_score

from pima_hp.model.metrics import EPOCH_METRICS, FINAL_METRICS, scored
from pima_hp.seeds import Role, stream


def final_scores(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    return scored("{}", FINAL_METRICS, logits, labels)


NAMES = {"accuracy", "loss", "auroc", "f1", "brier"}
KINDS = ["random", "ties", "all_equal", "at_the_border"]
KINDS += ["no_positive_row", "no_negative_row", "never_positive", "far_out"]


def logits_and_labels(kind: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(20, 50) logits and labels of a kind that is easy to get wrong."""
    generator = stream(5, Role.ORDER)
    logits = torch.randn(20, 50, generator=generator, dtype=dtype)
    labels = (torch.rand(20, 50, generator=generator) < 0.35).to(dtype)
    if kind == "ties":
        logits = (logits * 2).round() / 2
    elif kind == "all_equal":
        logits = torch.full_like(logits, 0.25)
    elif kind == "at_the_border":
        logits = torch.where(logits > 0, 0.0, -1.0).to(dtype)
    elif kind == "no_positive_row":
        labels = torch.zeros_like(labels)
    elif kind == "no_negative_row":
        labels = torch.ones_like(labels)
    elif kind == "never_positive":
        logits = -logits.abs() - 1
    elif kind == "far_out":
        logits = logits * 40
    return logits, labels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_many_networks_are_scored_as_each_alone(kind: str, dtype: torch.dtype) -> None:
    logits, labels = logits_and_labels(kind, dtype)
    together = final_scores(logits, labels)
    assert set(together) == NAMES
    assert {name: tuple(score.shape) for name, score in together.items()} == dict.fromkeys(NAMES, (20,))
    for member in range(len(logits)):
        alone = final_scores(logits[member], labels[member])
        for name, score in alone.items():
            assert score.shape == ()
            # one mean is not summed in the order of another
            expected = pytest.approx(float(score), rel=1e-6 if dtype.itemsize == 4 else 1e-14, nan_ok=True)
            assert float(together[name][member]) == expected, name
        assert math.isnan(alone["auroc"]) == (kind in ("no_positive_row", "no_negative_row"))


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_torchmetrics(kind: str) -> None:
    logits, labels = (rows[0] for rows in logits_and_labels(kind, torch.float64))
    scores, probabilities = final_scores(logits, labels), logits.sigmoid()
    classes = labels.long()
    # torchmetrics rounds to single precision
    assert float(scores["accuracy"]) == pytest.approx(float(binary_accuracy(probabilities, classes)), abs=1e-7)
    assert float(scores["f1"]) == pytest.approx(float(binary_f1_score(probabilities, classes)), abs=1e-7)
    assert float(scores["brier"]) == pytest.approx(float((probabilities - labels).square().mean()), abs=1e-7)
    assert float(scores["loss"]) == float(F.binary_cross_entropy_with_logits(logits, labels))
    if len(set(classes.tolist())) == 2:
        assert float(scores["auroc"]) == pytest.approx(float(binary_auroc(probabilities, classes)), abs=1e-6)


def test_accuracy_is_not_rounded_and_half_is_negative() -> None:
    labels = torch.tensor([1.0, 0.0, 0.0])
    assert float(scored("val/{}", EPOCH_METRICS, torch.tensor([0.0, 0.0, 1.0]), labels)["val/accuracy"]) == 1 / 3
