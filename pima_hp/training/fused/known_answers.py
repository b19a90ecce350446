"""A tiny training with known results, made before a kernel trains the first run of a process.

Each case pairs an activation with an update rule; together they cover every row of the kernel's tables. Two members
with different weights and hyperparameters share the lanes in an irregular pattern, so that mixed-up lanes are
detected. The answers, in `known_answers.json`, were made by torch in double precision; a test makes them again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pima_hp.training.fused.compiled import Kernel, Kind
from pima_hp.training.fused.tables import ACTIVATIONS, N_HYPERPARAMETERS, N_RUNNING, N_SCORES, N_SLOTS, RULES

ANSWERS = Path(__file__).with_suffix(".json")
WIDTHS = (3, 5, 2)  # whole and broken groups of four units
N_TRAIN, N_VAL, BATCH, N_EPOCHS, TILE = 18, 5, 5, 2, 16  # a broken batch, and a broken group of scored rows
TOLERANCE = {"float32": 2e-4, "float64": 1e-10}  # absolute; tests state what is reached

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        activation: class in `torch.nn`, its argument `argument` for each of the two members.
        optimizer: class in `torch.optim`.
        hyperparameters: of both members, by the names of `tables.Rule`; `lr` is doubled for the second.
        flag: SGD's `nesterov`, RMSprop's `centered`.
        shuffled: whether rows come in another order in each epoch.
    """

    activation: str
    argument: tuple[float, float]
    optimizer: str
    hyperparameters: dict[str, float]
    flag: bool = False
    shuffled: bool = False

    def of_member(self, member: int) -> dict[str, float]:
        """Return the hyperparameters of a member."""
        return {**self.hyperparameters, "lr": self.hyperparameters["lr"] * (1 + member)}


_ADAM = {"lr": 0.02, "weight_decay": 0.01, "beta1": 0.8, "beta2": 0.99, "eps": 1e-4}
CASES = (
    Case("torch.nn.ReLU", (0, 0), "torch.optim.SGD",
         {"lr": 0.1, "weight_decay": 0.01, "momentum": 0.5, "dampening": 0.1}),
    Case("torch.nn.LeakyReLU", (0.3, 0.01), "torch.optim.SGD",
         {"lr": 0.1, "weight_decay": 0.0, "momentum": 0.9, "dampening": 0.0}, flag=True, shuffled=True),
    Case("torch.nn.Identity", (0, 0), "torch.optim.RMSprop",
         {"lr": 0.02, "weight_decay": 0.01, "alpha": 0.9, "eps": 1e-4, "momentum": 0.0}),
    Case("torch.nn.Sigmoid", (0, 0), "torch.optim.RMSprop",
         {"lr": 0.02, "weight_decay": 0.0, "alpha": 0.8, "eps": 1e-2, "momentum": 0.5}, flag=True, shuffled=True),
    Case("torch.nn.Tanh", (0, 0), "torch.optim.Adagrad",
         {"lr": 0.1, "weight_decay": 0.01, "eps": 1e-4, "lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    Case("torch.nn.ELU", (1.0, 0.5), "torch.optim.Adam", _ADAM, shuffled=True),
    Case("torch.nn.GELU", (0, 0), "torch.optim.AdamW", _ADAM),
    Case("torch.nn.SiLU", (0, 0), "torch.optim.Adamax", _ADAM, shuffled=True),
    Case("torch.nn.Softplus", (1.0, 2.0), "torch.optim.NAdam", {**_ADAM, "schedule_decay": 0.96**0.004}),
)  # fmt: skip


def key(case: Case) -> str:
    """Return the name of a case among the stored answers."""
    return f"{case.activation}, {case.optimizer}{' with its flag' if case.flag else ''}"


def inputs(member: int) -> tuple[Array, Array, Array, NDArray[np.intp]]:
    """Return initial parameters (P,), features (n, D), labels (n,), and the order of the rows in each epoch (E, n).

    The first N_TRAIN rows are trained on, the others are watched. All are deterministic pseudo-random numbers, the same
    on every platform.
    """
    n_rows = N_TRAIN + N_VAL
    n_parameters = sum((before + 1) * after for before, after in zip(WIDTHS, (*WIDTHS[1:], 1), strict=True))
    weights = np.sin(np.arange(1.0, n_parameters + 1) ** 2 + member) * 0.7
    features = np.cos(np.arange(1.0, n_rows * WIDTHS[0] + 1) ** 2 * (1.1 + member)).reshape(n_rows, WIDTHS[0])
    labels = (features @ np.array([1.0, -1.0, 0.5]) + np.sin(np.arange(n_rows) * 7.0) > 0).astype(float)
    orders = np.stack([np.argsort(np.sin(np.arange(N_TRAIN) * 5.0 + epoch + member)) for epoch in range(N_EPOCHS)])
    return weights, features, labels, orders


def wrong_answer(kernel: Kernel, kind: Kind) -> str:
    """Train every case with a kernel; return what is wrong with the first that differs from torch, else nothing."""
    for case, expected in zip(CASES, _answers(), strict=True):
        found = train(kernel, kind, case)
        error = float(np.abs(found - expected).max())
        if not error <= TOLERANCE[kind.dtype]:  # also when it is not a number
            return f"{case.activation} with {case.optimizer} is off by {error:.2g}"
    return ""


def train(kernel: Kernel, kind: Kind, case: Case) -> Array:
    """Return the scores of a case (2 members, N_EPOCHS, N_SCORES) as means over rows; NaN where lanes disagree."""
    members = [bin(lane).count("1") % 2 for lane in range(kind.lanes)]
    of_members = [inputs(member) for member in range(2)]
    row, rule = ACTIVATIONS[case.activation], RULES[case.optimizer]
    n_parameters, n_units = len(of_members[0][0]), sum(WIDTHS[1:]) + 1

    def lanes(columns: Sequence[Any], dtype: str = kind.dtype) -> NDArray[Any]:
        """Numbers of each member, an array a member: rows of lanes."""
        return np.ascontiguousarray(np.stack([np.ravel(columns[member]) for member in members], axis=-1), dtype=dtype)

    def empty(n_rows: int, dtype: str = kind.dtype) -> NDArray[Any]:
        return np.zeros((n_rows, kind.lanes), dtype)

    hyperparameters = empty(N_HYPERPARAMETERS, "float64")
    hyperparameters[: len(rule.names)] = lanes(
        [[case.of_member(member)[name] for name in rule.names] for member in range(2)], "float64"
    )
    arrays = {
        "weights": lanes([weights for weights, *_ in of_members]),
        "slots": empty(N_SLOTS * n_parameters),
        "running": empty(N_RUNNING, "float64") + 1.0,
        "hyperparameters": hyperparameters,
        "argument": lanes([case.argument[member] for member in range(2)]),
        "widths": np.array([*WIDTHS, 1], "int32"),
        "x": lanes([features[:N_TRAIN].T for _, features, _, _ in of_members]),
        "y": lanes([labels[:N_TRAIN] for _, _, labels, _ in of_members]),
        "val_x": lanes([features[N_TRAIN:].T for _, features, _, _ in of_members]),
        "val_y": lanes([labels[N_TRAIN:] for _, _, labels, _ in of_members]),
        **{name: empty(n_units * TILE) for name in ("pre", "post", "delta")},
        "batch": empty((WIDTHS[0] + 1) * TILE),
        "gradients": empty(n_parameters),
    }
    numbers = {
        "first": 0, "last": 1, "training": 1, "scoring": 1, "n_layers": len(WIDTHS), "n_units": n_units,
        "n_parameters": n_parameters, "activation": row.code, "rule": rule.code, "flag": int(case.flag),
        "n_train": N_TRAIN, "n_val": N_VAL, "shuffled": int(case.shuffled), "size": BATCH, "n_epochs": 1,
    }  # fmt: skip
    scores = []
    for epoch in range(N_EPOCHS):
        call = {
            **arrays,
            "order": lanes([orders[epoch] for *_, orders in of_members], "int32"),
            "rates": lanes([case.of_member(member)["lr"] for member in range(2)], "float64"),
            "out": empty(N_SCORES, "float64"),
            "kept": empty(n_parameters),
        }
        step = epoch * -(-N_TRAIN // BATCH)
        kernel(**numbers, step=step, **{name: array.ctypes.data for name, array in call.items()})
        scores.append(call["out"] / np.array([*[N_TRAIN] * 4, N_VAL, N_VAL])[:, None])
    of_lanes = np.stack(scores)  # (N_EPOCHS, N_SCORES, lanes)
    groups = [of_lanes[..., [lane for lane, of in enumerate(members) if of == member]] for member in range(2)]
    return np.stack([np.where(np.ptp(group, axis=-1) == 0, group[..., 0], np.nan) for group in groups])


@cache
def _answers() -> Array:
    """Return the answers of torch, (cases, 2, N_EPOCHS, N_SCORES)."""
    stored = json.loads(ANSWERS.read_text(encoding="utf-8"))
    return np.array([stored[key(case)] for case in CASES])
