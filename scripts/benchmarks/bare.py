"""The least that a training can be in torch: a loop that records what a run records, and nothing around it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pima_hp.config.build import build
from pima_hp.model.mlp import MLP
from pima_hp.run import Run
from pima_hp.seeds import Role, seeded
from pima_hp.training.solo import datamodule_of


def train_bare(run: Run, n_epochs: int) -> list[dict[str, float]]:
    """Train one run for some epochs and return its scores, epoch by epoch."""
    configuration = run.config
    data = datamodule_of(configuration, run.seeds)
    train, val = data.tensors("train"), data.tensors("val")
    with seeded(run.seeds.init, Role.INIT):
        activation = build(configuration.activation.node, nn.Module)
        model = MLP(data.n_features, configuration.model.hidden_widths, activation)
    optimizer = build(configuration.optimizer.node, torch.optim.Optimizer, model.parameters())
    size = int(configuration.batch.size)
    batches = list(zip(train[0].split(size), train[1].split(size), strict=True))
    history = []
    for _ in range(n_epochs):
        running = []
        for features, labels in batches:
            logits = model(features)
            loss = F.binary_cross_entropy_with_logits(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running.append(logits.detach())
        history.append(_scores(model, torch.cat(running), train, val))
    return history


@torch.no_grad()
def _scores(
    model: nn.Module, running: Tensor, train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor]
) -> dict[str, float]:
    scored = {"train": (running, train[1]), "train_end": (model(train[0]), train[1]), "val": (model(val[0]), val[1])}
    scores = {}
    for name, (logits, labels) in scored.items():
        scores[f"{name}/accuracy"] = float(((logits > 0) == (labels > 0.5)).double().mean())
        scores[f"{name}/loss"] = float(F.binary_cross_entropy_with_logits(logits, labels))
    return scores
