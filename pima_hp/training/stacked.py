"""Train M runs of one configuration as one tensor program: the network of a solo run with a member axis."""

import inspect
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

from pima_hp.config import Config
from pima_hp.config.build import build, class_of
from pima_hp.data.datamodule import BatchLoader
from pima_hp.data.prepared import prepare
from pima_hp.data.table import read_table
from pima_hp.errors import ConfigurationError
from pima_hp.model.metrics import EPOCH_METRICS, FINAL_METRICS, Metric, scored
from pima_hp.model.mlp import MLP
from pima_hp.model.module import default_dtype
from pima_hp.run import Array, Results, Run, RunStatus
from pima_hp.seeds import Role, seeded, stream
from pima_hp.training.dispatch import device_of, engine_on

PADDING = 64
"""Stacks are filled up to a multiple of this with copies of their first run.

torch computes the last few elements of a vectorized operation, and a stack of one, with other instructions
than the rest; whole multiples keep each member's bits independent of its neighbors and of the stack's size.
"""

ELEMENTWISE_OPTIMIZERS = (
    *("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD"),
    *("NAdam", "RAdam", "RMSprop", "Rprop", "SGD"),
)
"""Classes of `torch.optim` that update each number by itself, so that a stack is updated as its members are."""

_MIX_OR_DRAW = ("GLU", "LogSoftmax", "MultiheadAttention", "PReLU", "RReLU", "Softmax", "Softmax2d", "Softmin")
"""Activations of torch that are not elementwise, or have parameters or random numbers, which members would share."""


def why_not(config: Config) -> str:
    """Return why runs of a configuration cannot be stacked; empty when they can."""
    activation, optimizer, scheduler = config.activation.target, config.optimizer.target, config.scheduler.target
    if not _is_elementwise(activation):
        return f"{activation} is no elementwise activation of torch without parameters"
    if optimizer not in [f"torch.optim.{name}" for name in ELEMENTWISE_OPTIMIZERS]:
        return f"{optimizer} does not update each weight by itself"
    if scheduler is not None and issubclass(class_of(scheduler, object), ReduceLROnPlateau):
        return "each member would need a learning rate of its own"
    return ""


def _is_elementwise(target: str) -> bool:
    try:
        found = class_of(target, nn.Module)
    except ConfigurationError:
        return False
    known = inspect.getmodule(found) is nn.modules.activation or found is nn.Identity
    return known and found.__name__ not in _MIX_OR_DRAW


def stack_key(config: Config) -> str:
    """Return a text that is equal for runs that may share a stack: they differ in their seeds alone."""
    return config.model_dump_json(by_alias=True)


def fit_stack(runs: Sequence[Run], progress: tqdm | None = None) -> Results:
    """Train runs with equal `stack_key`s together and return their results in the same order."""
    began, config, n_runs = time.perf_counter(), runs[0].config, len(runs)
    members = [run.seeds for run in [*runs, *[runs[0]] * (-n_runs % PADDING)]]
    n_members, n_epochs = len(members), config.trainer.max_epochs
    dtype, device = getattr(torch, config.trainer.dtype), device_of(config)
    prepared = prepare(
        read_table(config.data, config.data_digest), [(config.data, each.split) for each in members], dtype
    )
    splits = {name: tuple(each.to(device) for each in prepared.tensors(name)) for name in config.data.splits}
    features, labels = splits["train"]
    orders = [stream(seeds.order, Role.ORDER) for seeds in members] if config.batch.shuffle else []
    batches = BatchLoader(features, labels, config.batch.n_rows(labels.shape[1]), orders)
    curves: dict[str, Array] = defaultdict(lambda: np.full((n_members, n_epochs), np.nan))
    ends = np.full(n_members, n_epochs + 1)  # the first epoch without scores
    with default_dtype(dtype):
        network = _network(config, features.shape[-1], [seeds.init for seeds in members]).to(device)
        weights = _as_one_tensor(network)
        optimizer = build(config.optimizer.node, Optimizer, [weights])
        scheduler = build(config.scheduler.node, LRScheduler, optimizer) if config.scheduler.target else None
        for epoch in range(1, n_epochs + 1):
            scores = _train_epoch(network, weights, optimizer, batches)
            for keys, split in (("train/{}_end", "train"), ("val/{}", "val")):
                scores |= _score(network, splits[split], keys, EPOCH_METRICS)
            for key, score in scores.items():
                curves[key][:, epoch - 1] = score
            curves["lr"][:, epoch - 1] = optimizer.param_groups[0]["lr"]
            losses = [score for key, score in scores.items() if key.endswith(("/loss", "/loss_end"))]
            ends = np.where(np.isfinite(losses).all(0), ends, np.minimum(ends, epoch))
            if progress and epoch < n_epochs:  # the caller counts the rest, without the rounding of fractions
                progress.update(n_runs / n_epochs)
            if (ends <= n_epochs).all():
                break
            if scheduler:
                scheduler.step()
        final: dict[str, Array] = {}
        for split in splits:
            final |= _score(network, splits[split], f"{split}/{{}}", FINAL_METRICS)
    for curve in curves.values():
        curve[np.arange(1, n_epochs + 1) >= ends[:, None]] = np.nan
    ends = ends[:n_runs]
    diverged = ends <= n_epochs
    return Results(
        runs=list(runs),
        status=[RunStatus.DIVERGED if one else RunStatus.COMPLETED for one in diverged],
        curves={key: curve[:n_runs] for key, curve in curves.items()},
        scores={key: np.where(diverged, np.nan, score[:n_runs]) for key, score in final.items()},
        n_updates=np.minimum(ends, n_epochs) * len(batches),
        stop_epoch=np.where(diverged, ends, 0),
        positive_rate=labels[:n_runs].double().mean(1).cpu().numpy(),
        n_train=labels.shape[1],
        duration_s=(time.perf_counter() - began) / n_runs,
        engine=engine_on("stacked", config),
    )


def _network(config: Config, n_features: int, init_seeds: Sequence[int]) -> MLP:
    """Return M networks, each with the initial weights of its solo run."""
    with seeded(init_seeds[0], Role.INIT):
        network = MLP(
            n_features, activation=config.activation.node, n_members=len(init_seeds), **config.model.arguments
        )
    network.reset_parameters([stream(seed, Role.INIT) for seed in init_seeds])
    return network


def _as_one_tensor(network: nn.Module) -> nn.Parameter:
    """Return one tensor of all weights and biases, (M * P,), whose memory the layers share from now on.

    An optimizer takes as long for one small tensor as for another; the layers have six.
    """
    parameters = list(network.parameters())
    sizes = [parameter.numel() for parameter in parameters]
    flat = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    flat.grad = torch.zeros_like(flat)
    for parameter, values, gradient in zip(parameters, flat.detach().split(sizes), flat.grad.split(sizes), strict=True):
        parameter.data, parameter.grad = values.view_as(parameter), gradient.view_as(parameter)
    return flat


def _train_epoch(network: MLP, weights: nn.Parameter, optimizer: Optimizer, batches: BatchLoader) -> dict[str, Array]:
    """Make the updates of an epoch; return its running scores, key -> (M,)."""
    kept = []
    for features, labels in batches:
        assert weights.grad is not None  # noqa: S101
        weights.grad.zero_()
        logits = network(features)
        loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / labels.shape[-1]
        loss.backward()
        optimizer.step()
        kept.append((logits.detach(), labels))
    logits, labels = (torch.cat(parts, dim=-1) for parts in zip(*kept, strict=True))
    return _arrays(scored("train/{}", EPOCH_METRICS, logits, labels))


@torch.no_grad()
def _score(network: MLP, split: Sequence[Tensor], keys: str, metrics: Mapping[str, Metric]) -> dict[str, Array]:
    """Return the scores of a split, key -> (M,)."""
    features, labels = split
    return _arrays(scored(keys, metrics, network(features), labels))


def _arrays(scores: Mapping[str, Tensor]) -> dict[str, Array]:
    return {key: score.double().cpu().numpy() for key, score in scores.items()}
