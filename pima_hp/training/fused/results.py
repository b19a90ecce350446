"""What a stack that was trained leaves behind."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pima_hp.config.build import build
from pima_hp.data.prepared import gather
from pima_hp.model.metrics import FINAL_METRICS, scored
from pima_hp.model.mlp import layer_shapes
from pima_hp.run import Array, Results, RunStatus
from pima_hp.training.dispatch import engine_on
from pima_hp.training.fused.stack import Stack
from pima_hp.training.fused.tables import ACTIVATIONS

_AT_ONCE = 32  # members that are scored at a time, their hidden units in the cache


def results_of(stack: Stack, duration_s: float) -> Results:
    """Return the results of a stack; `duration_s` of all of it is shared out evenly."""
    n_runs, n_epochs = len(stack.runs), stack.n_epochs
    curves = {key: tensor[:n_runs].numpy() for key, tensor in stack.curves.items()}
    lost = np.any([~np.isfinite(curve) for key, curve in curves.items() if "loss" in key], axis=0)
    diverged = lost.any(1)
    stops = np.where(diverged, lost.argmax(1), n_epochs)
    for curve in curves.values():
        curve[np.arange(n_epochs) >= stops[:, None]] = np.nan
    n_trained = stops + diverged
    return Results(
        runs=stack.runs,
        status=[RunStatus.DIVERGED if one else RunStatus.COMPLETED for one in diverged],
        curves=curves,
        scores={key: np.where(diverged, np.nan, score[:n_runs]) for key, score in _final_scores(stack).items()},
        n_updates=n_trained * stack.n_steps,
        stop_epoch=np.where(diverged, n_trained, 0),
        positive_rate=gather(stack.labels, stack.rows["train"][:n_runs]).double().mean(1).cpu().numpy(),
        n_train=stack.n_train,
        duration_s=duration_s / n_runs,
        engine=engine_on("fused", stack.runs[0].config),
    )


@torch.no_grad()
def _final_scores(stack: Stack) -> dict[str, Array]:
    """Return the scores of the last weights on each split, key -> (M,).

    Members whose activations have equal arguments are scored together, as multiples of what the engine works on: torch
    computes the last elements of a tensor with other instructions.
    """
    scores = {f"{split}/{name}": np.empty(len(stack.members)) for split in stack.rows for name in FINAL_METRICS}
    arguments = stack.columns("activation", ACTIVATIONS).sum(0)
    for argument in np.unique(arguments):
        places = np.flatnonzero(arguments == argument).tolist()
        activation = build(stack.members[places[0]].config.activation.node, nn.Module)
        whole = [*places, *places[:1] * (-len(places) % stack.lanes)]
        for split, of_split in stack.rows.items():
            rows = of_split[whole]
            chunks = zip(stack.vectors[whole].split(_AT_ONCE), rows.split(_AT_ONCE), strict=True)
            logits = [_logits(stack.widths, activation, each, gather(stack.features, some)) for each, some in chunks]
            for name, values in scored("{}", FINAL_METRICS, torch.cat(logits), gather(stack.labels, rows)).items():
                scores[f"{split}/{name}"][places] = values[: len(places)].double().cpu().numpy()
    return scores


def _logits(widths: Sequence[int], activation: nn.Module, vectors: Tensor, features: Tensor) -> Tensor:
    """Map features (M, n, D) to logits (M, n) with parameters (M, P): `MLP` without a copy of the parameters."""
    hidden, start = features, 0
    for fan_out, fan_in in layer_shapes(widths):
        inputs, end = activation(hidden) if start else hidden, start + fan_out * fan_in
        weight, bias = vectors[:, start:end].view(-1, fan_out, fan_in), vectors[:, None, end : end + fan_out]
        hidden, start = torch.baddbmm(bias, inputs, weight.mT), end + fan_out  # (M, n, fan_out)
    return hidden.squeeze(-1)
