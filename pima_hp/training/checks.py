"""Can this configuration be trained here? Asked of every job before the first run."""

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from pima_hp.config import Component, Config
from pima_hp.config.build import build, class_of
from pima_hp.config.problems import RENAMED, nearest
from pima_hp.errors import ConfigurationError
from pima_hp.training.device import device_of

_OF_TORCH: dict[str, type] = {
    "model": torch.nn.Module,
    "activation": torch.nn.Module,
    "optimizer": torch.optim.Optimizer,
    "scheduler": LRScheduler,
}
_TRAINER_ARGUMENTS = {"max_epochs", "precision", "accelerator", "devices"}


def kind_of(key: str) -> type:
    """Return what a class must inherit from to stand under a key such as `optimizer` or `callbacks.mine`."""
    section = key.partition(".")[0]
    if section in _OF_TORCH:
        return _OF_TORCH[section]
    import lightning  # a second and more, which most configurations do not need
    from lightning.pytorch.loggers import Logger

    from pima_hp.data import PimaDataModule

    of_lightning: dict[str, type] = {
        "data": PimaDataModule,
        "trainer": lightning.Trainer,
        "callbacks": lightning.Callback,
        "logger": Logger,
    }
    return of_lightning[section]


def config_problems(config: Config) -> list[str]:
    """Return one line for each part that torch or Lightning refuses or this machine lacks."""
    problems = []
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        problems.append("trainer.accelerator: gpu needs a CUDA device; found none; allowed here: auto, cpu")
    if config.trainer.precision.startswith("16") and device_of(config).type == "cpu":
        problems.append(
            f"trainer.precision: {config.trainer.precision} needs a CUDA device; on the CPU write bf16-mixed"
        )
    for section in _OF_TORCH:
        component: Component = getattr(config, section)
        if component.target:
            problems += _refusals(section, json.dumps(component.node, sort_keys=True))
    for name, component in config.callbacks.items():
        problems += _wrong_kind(f"callbacks.{name}", component)
    if config.data.target != type(config.data).usual:
        problems += _wrong_kind("data", config.data)
    if config.trainer.target != type(config.trainer).usual or set(config.trainer.arguments) - _TRAINER_ARGUMENTS:
        problems += _trainer_problems(config)
    return problems


def _wrong_kind(key: str, component: Component) -> list[str]:
    try:
        class_of(component.target, kind_of(key))
    except ConfigurationError as error:
        return [f"{key}.{error}"]
    return []


def _trainer_problems(config: Config) -> list[str]:
    """Return one line for each argument that the Trainer does not have or refuses."""
    import lightning

    try:
        found: type = class_of(config.trainer.target, lightning.Trainer)
    except ConfigurationError as error:
        return [f"trainer.{error}"]
    known = set(inspect.signature(lightning.Trainer).parameters)
    arguments = config.trainer.arguments
    problems = [f"{key}: is called {RENAMED[key]} now" for key in map("trainer.{}".format, arguments) if key in RENAMED]
    if problems:
        return problems
    problems = [
        f"trainer.{name}: no such argument of the Trainer{nearest(name, known)}"
        for name in arguments
        if name not in known
    ]
    if not problems:
        from pima_hp.training.solo import trainer_of

        try:
            trainer_of(config, [])
        except Exception as error:  # noqa: BLE001 -- whatever Lightning says to these arguments is for the user
            problems.append(f"trainer: {found.__name__} refused its arguments: {' '.join(str(error).split())[:300]}")
    return problems


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Create optimizers without importing torch's compiler, which takes a second and is not used."""
    optimizer = torch.optim.Optimizer
    real = optimizer.add_param_group
    optimizer.add_param_group = getattr(real, "__wrapped__", real)  # type: ignore[method-assign]
    try:
        yield
    finally:
        optimizer.add_param_group = real  # type: ignore[method-assign]


@lru_cache(maxsize=4096)
def _refusals(section: str, node: str) -> tuple[str, ...]:
    """Build a component once on a single parameter; thousands of configurations share it."""
    component: dict[str, Any] = json.loads(node)
    try:
        found: type = class_of(component["_target_"], _OF_TORCH[section])
    except ConfigurationError as error:
        return tuple(f"{section}.{problem}" for problem in error.problems)
    if problems := _mistyped(section, found, component):
        return tuple(f"{section}.{problem}" for problem in problems)
    parameter = torch.nn.Parameter(torch.zeros(1))
    try:
        with _without_compiler():
            if section == "activation":
                build(component, torch.nn.Module)(torch.zeros(1, requires_grad=True) * 1).backward()
            elif section == "optimizer":
                build(component, torch.optim.Optimizer, [parameter])
            elif section == "scheduler":
                arguments = {key: value for key, value in component.items() if key != "monitor"}
                build(arguments, LRScheduler, torch.optim.SGD([parameter], lr=0.1))
    except ConfigurationError as error:
        return tuple(f"{section}: {problem}" for problem in error.problems)
    except Exception as error:  # noqa: BLE001 -- whatever torch says to these arguments is for the user
        return (f"{section}: {component['_target_']} refused its arguments: {' '.join(str(error).split())}",)
    return ()


def _mistyped(section: str, found: type, component: dict[str, Any]) -> list[str]:
    """Return one line for each argument that the class does not accept or that has the wrong type."""
    parameters = inspect.signature(found).parameters
    known = {name for name, each in parameters.items() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    open_ended = section == "model" and any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    given = {"params", "optimizer", "n_features", "n_members", "activation", "self"}
    problems = []
    for name, value in component.items():
        if name == "_target_":
            continue
        if name not in known and not open_ended:  # also where it would be taken and not used: Identity(slope=1)
            allowed = ", ".join(sorted(known - given))
            hint = f"allowed: {allowed}" if allowed else "it takes none"
            remove = f"; remove it with ~model.{name}" if section == "model" else ""
            problems.append(f"{name}: {component['_target_']} has no such argument; {hint}{remove}")
            continue
        if section == "model" or name not in known:
            continue
        default = parameters[name].default
        is_switch = isinstance(default, bool) or (default is None and section == "optimizer")
        if is_switch and not isinstance(value, bool):
            problems.append(f"{name}: must be true or false; found {value!s:.60}")
        elif (
            not is_switch
            and isinstance(default, int | float)
            and (isinstance(value, bool) or not isinstance(value, int | float))
        ):
            problems.append(f"{name}: must be a number; found {str(value).lower():.60}")
    return problems
