"""Whether the classes that a job names are of the right kind and take their arguments; asked before training."""

import importlib.util
import inspect
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from pima_hp.commands.job import Job
from pima_hp.config import Component
from pima_hp.config.problems import nearest, shown
from pima_hp.errors import ConfigurationError

_PACKAGES = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow", "CometLogger": "comet_ml", "NeptuneLogger": "neptune"}
"""Loggers of Lightning that need a package of their own."""


def component_problems(job: Job, *, by_lightning: bool) -> list[str]:
    """Return one line for each class that is of the wrong kind or refuses its arguments.

    Args:
        job: parsed.
        by_lightning: whether Lightning trains the job, so that callbacks and loggers are needed.
    """
    from pima_hp.training.checks import config_problems

    problems = config_problems(job.config)
    if by_lightning:
        problems += _lightning_problems(job)
    return problems


def _lightning_problems(job: Job) -> list[str]:
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

    from pima_hp.config.build import build, class_of

    problems = []
    for name, node in job.callbacks.items():
        problems += _outside_study(f"callbacks.{name}", node, job)
        try:
            build(node.node, Callback)
        except Exception as error:  # noqa: BLE001 -- whatever the class says to its arguments is for the user
            problems += [f"callbacks.{name}: {_one_line(error)}"]
    for name, node in job.loggers.items():
        problems += _outside_study(f"logger.{name}", node, job)
        try:
            found = class_of(node.target, Logger)  # type: ignore[type-abstract]
        except ConfigurationError as error:
            problems += [f"logger.{name}.{error}"]
            continue
        package = _PACKAGES.get(found.__name__, "")
        if package and importlib.util.find_spec(package) is None:
            problems.append(f"logger.{name}: needs a package that is not installed: pip install {package}")
        problems += [f"logger.{name}.{problem}" for problem in _unknown_arguments(found, node.arguments)]
    return problems


def _outside_study(key: str, node: Component, job: Job) -> list[str]:
    """Return one line for each path of a callback or logger that leaves the study's folder."""
    inside = job.folder.resolve()
    problems = []
    for name, value in node.arguments.items():
        if not isinstance(value, str) or "://" in value:
            continue
        path = Path(value)
        is_path = path.is_absolute() or name.endswith(("dir", "path", "dirpath"))
        leaves = inside not in (path.resolve(), *path.resolve().parents) if is_path and value else ".." in path.parts
        if leaves:
            found = f"must lie in the study's folder {str(job.folder)!r}; found {shown(value, 200)}"
            problems.append(f"{key}.{name}: {found}")
    return problems


@lru_cache(maxsize=64)
def _parameters(found: type) -> tuple[set[str], bool]:
    parameters = inspect.signature(found).parameters.values()
    return {each.name for each in parameters}, any(each.kind is each.VAR_KEYWORD for each in parameters)


def _unknown_arguments(found: type, arguments: Iterable[str]) -> list[str]:
    known, open_ended = _parameters(found)
    unknown = [] if open_ended else [name for name in arguments if name not in known]
    return [f"{name}: {found.__name__} has no such argument{nearest(name, known)}" for name in unknown]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
