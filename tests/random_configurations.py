"""Random configurations over every option of `conf/` and every argument of its class, sensible and extreme.

Options are discovered; an argument of a new option needs a row in `DRAWS`, or the search fails with its name.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from hydra.utils import get_class
from omegaconf import OmegaConf

from pima_hp.commands.job import parse
from pima_hp.config import Config, DataSection
from pima_hp.config.options import option_content, options
from pima_hp.model.mlp import INITIALIZATIONS
from pima_hp.run import Run
from tests.conftest import Settings, seeds_of, settings_of

Rng = np.random.Generator
Draw = Callable[[Rng], Any]


def words(section: type[Any], name: str) -> list[Any]:
    """The values that a setting of words may have."""
    return list(get_args(section.model_fields[name].annotation))


def one_of(*values: Any) -> Draw:
    return lambda rng: values[rng.integers(len(values))]


def log_uniform(low: float, high: float, *others: Any) -> Draw:
    """A number between low and high, or in two cases of five one of the others."""
    return lambda rng: (
        one_of(*others)(rng) if others and rng.random() < 0.4 else float(np.exp(rng.uniform(np.log(low), np.log(high))))
    )


def uniform(low: float, high: float, *others: Any) -> Draw:
    return lambda rng: one_of(*others)(rng) if others and rng.random() < 0.6 else float(rng.uniform(low, high))


EPS = log_uniform(1e-12, 1e-2, 1e-8, 1e-7)
DECAY = uniform(0, 1, 0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)
LEFT_OUT = "left out"  # torch's own default
DRAWS: dict[str, dict[str, Draw]] = {
    "activation": {
        "inplace": one_of(LEFT_OUT, LEFT_OUT, LEFT_OUT, False, True),
        "negative_slope": uniform(-0.5, 1.5, 0.0, 0.01, 0.3),
        "alpha": uniform(-0.5, 3.0, 0.0, 1.0),
        "approximate": one_of("none", "none", "none", "tanh"),
        "beta": log_uniform(0.05, 50, 1.0),
        "threshold": one_of(LEFT_OUT, LEFT_OUT, LEFT_OUT, 20.0, 5.0),
    },
    "optimizer": {
        "lr": log_uniform(1e-5, 1, 1e-3),
        "betas": lambda rng: [DECAY(rng), DECAY(rng)],
        "eps": EPS,
        "momentum": DECAY,
        "dampening": uniform(0, 1, LEFT_OUT, 0.0),
        "nesterov": one_of(LEFT_OUT, False, True),
        "weight_decay": log_uniform(1e-6, 1, 0.0),
        "alpha": DECAY,
        "centered": one_of(LEFT_OUT, False, True),
        "lr_decay": log_uniform(1e-4, 1, LEFT_OUT, 0.0),
        "initial_accumulator_value": log_uniform(1e-8, 1, 0.0, 0.1),
        "momentum_decay": log_uniform(1e-4, 2, 0.0, 4e-3),
        "amsgrad": one_of(*[LEFT_OUT] * 5, False, True),
        "decoupled_weight_decay": one_of(*[LEFT_OUT] * 5, False, True),
        "maximize": one_of(*[LEFT_OUT] * 9, False, True),
        **dict.fromkeys(("foreach", "fused", "capturable", "differentiable"), one_of(*[LEFT_OUT] * 15, False)),
    },
    "scheduler": {
        "monitor": one_of(None),
        "step_size": one_of(1, 1, 2),
        "gamma": log_uniform(1e-2, 10, 0.1),
        "T_max": one_of(1, 2, 3, 100),
        "eta_min": log_uniform(1e-6, 1, 0.0),
        "factor": uniform(0.01, 0.99, 0.1, 0.5),
        "patience": one_of(0, 0, 1),
        "threshold": one_of(0.0, 1e-4, 1e-3, 10.0),
        "threshold_mode": one_of(*["abs"] * 7, "rel"),
        "mode": one_of(*[LEFT_OUT] * 7, "min", "max"),
        "cooldown": one_of(LEFT_OUT, 0, 1),
        "min_lr": log_uniform(1e-6, 1, 0.0),
        "eps": one_of(LEFT_OUT, 0.0, 1e-3),
        "last_epoch": one_of(LEFT_OUT),
    },
}
FIRST = {"activation": set(), "optimizer": {"params"}, "scheduler": {"optimizer"}}  # arguments that no YAML holds


def component(rng: Rng, group: str, option: str) -> dict[str, Any]:
    """The option with its arguments drawn anew, and others that its class has."""
    content = dict(option_content(group, option))
    target = content.pop("_target_")
    parameters = {} if target is None else inspect.signature(get_class(target)).parameters
    named = {name for name, each in parameters.items() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    drawn = {name: DRAWS[group][name](rng) for name in sorted({*content, *named} - FIRST[group])}
    if group == "optimizer" and drawn.get("nesterov") is True:  # torch's own conditions
        drawn |= {"dampening": 0.0, "momentum": drawn["momentum"] or 0.9}
    if drawn.get("inplace") is True:  # torch's own condition too
        drawn |= {name: abs(value) for name, value in drawn.items() if isinstance(value, float)}
    if "patience" in drawn:
        drawn["monitor"] = one_of("val/loss", "train/loss", None)(rng)
    return {"_target_": target, **{name: value for name, value in drawn.items() if value != LEFT_OUT}}


def settings(rng: Rng, path: str, precision: int) -> Settings:
    """The settings of one job: two epochs, three where only the third can show what the schedule did."""
    found = settings_of(f"data.path={path}")
    chosen = {group: str(one_of(*options(group))(rng)) for group in DRAWS}
    found |= {group: component(rng, group, option) for group, option in chosen.items()}
    found["data"] |= {
        "scaling": one_of(*words(DataSection, "scaling"))(rng),
        "missing": one_of(*words(DataSection, "missing"))(rng),
        "stratified": bool(rng.integers(2)),
        "val_fraction": one_of(0.0, 0.0, 0.2)(rng),
        "test_fraction": one_of(0.2, 0.33)(rng),
    }
    found["model"] = {
        "hidden_widths": [int(rng.integers(1, 17)) for _ in range(rng.integers(1, 4))],
        "initialization": one_of(*INITIALIZATIONS)(rng),
    }
    found["batch"] = {
        "size": one_of(1, 7, 16, 32, "full", int(rng.integers(2, 50)))(rng),
        "shuffle": bool(rng.integers(2)),
    }
    n_epochs = 3 if "patience" in found["scheduler"] else 2
    found["trainer"] |= {"max_epochs": n_epochs, "precision": f"{precision}-true", "accelerator": "cpu"}
    return found


@dataclass(frozen=True)
class Drawn:
    """Members of one stack: one configuration, in half of the draws with an optimizer of its own for each."""

    runs: list[Run]

    def __str__(self) -> str:
        content = self.runs[0].config.content
        others = [run.config.content["optimizer"] for run in self.runs[1:]]
        return f"{content}, seed {self.runs[0].seeds.seed}, optimizers of the others: {others}"


def draw(seed: int, path: str, precision: int = 64) -> Drawn:
    """Return the members that a seed stands for; the same seed gives the same members."""
    rng = np.random.default_rng(seed)
    given = settings(rng, path, precision)
    jobs = [given] * int(rng.integers(1, 4))
    if rng.random() < 0.5:
        jobs = [given, *[{**given, "optimizer": _other_numbers(rng, given["optimizer"])} for _ in jobs[1:]]]
    first = int(rng.integers(2**32 - 8))
    configurations: list[Config] = [parse(OmegaConf.create(job)).config for job in jobs]
    return Drawn([Run(each, seeds_of(first + place)) for place, each in enumerate(configurations)])


def _other_numbers(rng: Rng, content: dict[str, Any]) -> dict[str, Any]:
    """The same optimizer with other numbers above zero; zeros and flags stay, or the members could share no stack."""
    other = dict(content)
    for name, value in content.items():
        if isinstance(value, float | list) and value:
            other[name] = DRAWS["optimizer"][name](rng)
            if other[name] in (0.0, LEFT_OUT):
                other[name] = value
    return other
