"""Tiny trainings with known results, made before a kernel trains the first run of a process.

Each case pairs an activation with an update rule; together they cover every row of the kernel's tables, with batches,
units and scored rows that do not fill a group. Two members with different seeds and hyperparameters share the lanes in
an irregular pattern, so that mixed-up lanes are detected. The answers, in `known_answers.json`, are what solo runs give
in each precision, which decides how weights are drawn; a test makes them again.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pima_hp.config import Config, DataSection, ModelSection, Seeds
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.run import CURVES, Array, Run
from pima_hp.training.fused.stack import Stack
from pima_hp.training.fused.tables import N_SCORES

ANSWERS = Path(__file__).with_suffix(".json")
TOLERANCE = {"float32": 2e-4, "float64": 1e-10}  # absolute; tests state what is reached
KEYS = CURVES[:N_SCORES]

_ADAM = {"lr": 0.02, "weight_decay": 0.01, "betas": [0.8, 0.99], "eps": 1e-4}
# Activation -> its arguments, halved for the second member; optimizer and its arguments, the rate doubled.
CASES: dict[str, tuple[dict[str, float], str, dict[str, Any]]] = {
    "ReLU": ({}, "SGD", {"lr": 0.1, "weight_decay": 0.01, "momentum": 0.5, "dampening": 0.1}),
    "LeakyReLU": ({"negative_slope": 0.3}, "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "Identity": ({}, "RMSprop", {"lr": 0.02, "weight_decay": 0.01, "alpha": 0.9, "eps": 1e-4}),
    "Sigmoid": ({}, "RMSprop", {"lr": 0.02, "alpha": 0.8, "eps": 1e-2, "momentum": 0.5, "centered": True}),
    "Tanh": ({}, "Adagrad", {"lr": 0.1, "weight_decay": 0.01, "lr_decay": 0.1, "initial_accumulator_value": 0.1}),
    "ELU": ({"alpha": 0.5}, "Adam", _ADAM),
    "GELU": ({}, "AdamW", _ADAM),
    "SiLU": ({}, "Adamax", _ADAM),
    "Softplus": ({"beta": 2.0}, "NAdam", _ADAM),
}


def members_of(activation: str, dtype: str) -> list[Run]:
    """Return the two different runs of a case; every other case shuffles its rows."""
    arguments, optimizer, given = CASES[activation]
    common = {
        "data": {"_target_": DataSection.usual, "scaling": "standard", "test_fraction": 0.85, "val_fraction": 0.05},
        "model": {"_target_": ModelSection.usual, "hidden_widths": [5, 2], "initialization": "torch_default"},
        "scheduler": {},
        "batch": {"size": 10, "shuffle": list(CASES).index(activation) % 2 == 1},
        "trainer": {"_target_": "lightning.Trainer", "max_epochs": 2, "precision": dtype[5:], "accelerator": "cpu"},
        "data_digest": SHIPPED_SHA256,
    }
    runs = []
    for member in range(2):
        own = {name: value / (1 + member) for name, value in arguments.items()}
        settings = {
            "activation": {"_target_": f"torch.nn.{activation}", **own},
            "optimizer": {"_target_": f"torch.optim.{optimizer}", **given, "lr": given["lr"] * (1 + member)},
        }
        runs.append(Run(Config.model_validate(common | settings), Seeds(member, member, member, member)))
    return runs


def check(stack_of: Callable[[list[Run]], Stack], lanes: int, dtype: str) -> None:
    """Train every case in stacks of this many runs; RuntimeError unless the results are as expected."""
    answers = json.loads(ANSWERS.read_text(encoding="utf-8"))[dtype]
    for activation, (_, optimizer, _) in CASES.items():
        error = float(np.abs(scores(stack_of, lanes, dtype, activation) - np.array(answers[activation])).max())
        if not error <= TOLERANCE[dtype]:  # also when it is not a number
            raise RuntimeError(f"{activation} with {optimizer} is off by {error:.2g}")


def scores(stack_of: Callable[[list[Run]], Stack], lanes: int, dtype: str, activation: str) -> Array:
    """Return the curves of a case, (2 members, epochs, KEYS); NaN where lanes disagree."""
    pair = members_of(activation, dtype)
    members = np.array([bin(lane).count("1") % 2 for lane in range(lanes)])
    stack = stack_of([pair[member] for member in members])
    stack.fit()
    curves = np.stack([stack.curves[key] for key in KEYS], axis=-1)  # (lanes, epochs, KEYS)
    groups = [curves[members == member] for member in range(2)]
    return np.stack([np.where(np.ptp(group, axis=0) == 0, group[0], np.nan) for group in groups])
