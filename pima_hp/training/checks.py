"""Can this configuration be trained here? Asked of every job before the first run."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from hydra.utils import get_class

from pima_hp.config import Component, Config, OptimizerSection
from pima_hp.config.build import build
from pima_hp.errors import ConfigurationError
from pima_hp.training.dispatch import refusal


def component_problems(configuration: Config, engine: str = "auto", *, only_lightning: str = "") -> list[str]:
    """Return one line for each part that torch refuses or this machine lacks, and for an engine that cannot train it.

    Args:
        configuration: the configuration.
        engine: see `pima_hp.training.dispatch.select`.
        only_lightning: see there.
    """
    problems = []
    if configuration.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        problems.append("trainer.accelerator: gpu needs a CUDA device; found none; allowed here: auto, cpu")
    for section in ("activation", "optimizer", "scheduler"):
        component: Component = getattr(configuration, section)
        if component.target is not None:
            problems += _refusal(section, component.model_dump_json(by_alias=True), type(component))
    if not problems and (refused := refusal(configuration, engine, only_lightning=only_lightning)):
        problems.append(refused)
    return problems


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Let an optimizer be made without torch's compiler: it is imported, a second, only to be told to keep away."""
    optimizer = torch.optim.Optimizer
    real = optimizer.add_param_group
    optimizer.add_param_group = getattr(real, "__wrapped__", real)  # type: ignore[method-assign]
    try:
        yield
    finally:
        optimizer.add_param_group = real  # type: ignore[method-assign]


@lru_cache(maxsize=4096)
def _refusal(section: str, text: str, kind: type[Component]) -> tuple[str, ...]:
    """Build a component once on a single parameter; thousands of configurations share it."""
    component = kind.model_validate_json(text)
    if problems := _mistyped(component):
        return tuple(f"{section}.{problem}" for problem in problems)
    parameter = torch.nn.Parameter(torch.zeros(1))
    try:
        with _without_compiler():
            if section == "activation":
                build(component.node, torch.nn.Module)(torch.zeros(1, requires_grad=True) * 1).backward()
            elif section == "optimizer":
                build(component.node, torch.optim.Optimizer, [parameter])
            else:
                build(component.node, torch.optim.lr_scheduler.LRScheduler, torch.optim.SGD([parameter], lr=0.1))
    except ConfigurationError as error:
        return tuple(f"{section}: {problem}" for problem in error.problems)
    except Exception as error:  # noqa: BLE001 -- whatever torch says to these arguments is for the person
        return (f"{section}: {component.target} refused its arguments: {' '.join(str(error).split())}",)
    return ()


def _mistyped(component: Component) -> list[str]:
    """Return one line for each argument that the class does not accept or that has the wrong type."""
    parameters = inspect.signature(get_class(str(component.target))).parameters
    known = {name for name, each in parameters.items() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    problems = []
    for name, value in component.arguments.items():
        if name not in known:  # also where it would be taken and not used: torch.nn.Identity(slope=1)
            allowed = ", ".join(sorted(known - {"params", "optimizer"}))
            hint = f"allowed: {allowed}" if allowed else "it takes none"
            problems.append(f"{name}: {component.target} has no such argument; {hint}")
            continue
        default = parameters[name].default
        is_switch = isinstance(default, bool) or (default is None and isinstance(component, OptimizerSection))
        if is_switch and not isinstance(value, bool):
            problems.append(f"{name}: must be true or false; found {value!s:.60}")
        elif not is_switch and isinstance(default, int | float) and not isinstance(value, float):
            problems.append(f"{name}: must be a number; found {str(value).lower():.60}")
    return problems
