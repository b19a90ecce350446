"""Check, before the first run, that the classes of a job can be built with their arguments and used here."""

import importlib.util
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch.optim import SGD, Optimizer

from pima_hp.config import Component, Config
from pima_hp.config.build import build, class_of
from pima_hp.errors import ConfigurationError
from pima_hp.model.mlp import is_elementwise
from pima_hp.training.dispatch import device_of

# Annotations of arguments that are true or false.
_BOOLEANS = (bool, bool | None, "bool", "bool | None", "Optional[bool]")

_NEEDS_PACKAGE = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow"}


def component_problems(
    config: Config, groups: Mapping[str, Mapping[str, Component]] | None = None, folder: Path = Path()
) -> list[str]:
    """Return one line for each part of a configuration that torch or Lightning refuses or this machine lacks.

    Args:
        config: the configuration.
        groups: `callbacks` and `logger`, where Lightning trains; else only the callbacks that act are checked.
        folder: of the study, in which all that callbacks and loggers write must lie.
    """
    trainer, problems = config.trainer, list[str]()
    if trainer.accelerator == "gpu" and not torch.cuda.is_available():
        problems.append("trainer.accelerator: gpu needs a CUDA device; found none; allowed here: auto, cpu")
    if trainer.precision.startswith("16") and device_of(config).type == "cpu":
        problems.append(f"trainer.precision: {trainer.precision} needs a CUDA device; on the CPU write bf16-mixed")
    model, activation = config.model.target, config.activation.target
    if config.diagnostics.name != "none" and not (model == config.model.usual and is_elementwise(activation)):
        rule = "diagnostics: must go with the project's MLP and an elementwise activation of torch without parameters"
        problems.append(f"{rule}; found {model}, {activation}")
    nodes = {key: section for key, section in config if isinstance(section, Component)}
    for group, named in ({"callbacks": config.callbacks} | dict(groups or {})).items():
        nodes |= {f"{group}.{name}": node for name, node in named.items()}
    is_usual_trainer = trainer.arguments.keys() <= {"max_epochs", "precision", "accelerator", "devices"}
    for key, node in nodes.items():
        # the usual classes with the usual arguments need no check, and importing Lightning takes seconds
        if not node.target or (node.target == node.usual and (node is not trainer or is_usual_trainer)):
            continue
        problems += _refusal(key, node.kind, json.dumps(node.node, sort_keys=True))
        if "." in key:  # a callback or a logger
            problems += _outside(key, node, folder.resolve())
    return problems


@lru_cache(maxsize=4096)
def _refusal(key: str, kind: str, node: str) -> tuple[str, ...]:
    """Return in one line why a class cannot be built, none when it can; thousands of configurations share it."""
    try:
        _try(key.partition(".")[0], class_of(kind, object), json.loads(node))
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever a class says to its arguments is for the user
        reason = " ".join(str(error).split())[:300]
        return (f"{key}{'.' if reason.startswith('_target_') else ': '}{reason}",)
    return ()


def _try(section: str, kind: type, node: Mapping[str, Any]) -> None:
    """Check a class and its arguments and build it, unless that needs data or writes files."""
    found: type = class_of(node["_target_"], kind)
    if (package := _NEEDS_PACKAGE.get(found.__name__)) and importlib.util.find_spec(package) is None:
        raise ConfigurationError(f"needs a package that is not installed: pip install {package}")
    arguments = {name: value for name, value in node.items() if name != "_target_"}
    signature = inspect.signature(found)
    signature.bind_partial(**arguments)
    if found is torch.nn.Identity and arguments:  # its own __init__ takes and drops anything
        raise ConfigurationError(f"torch.nn.Identity takes no arguments; found {next(iter(arguments))}")
    for name, value in arguments.items():  # the word no would count as true
        parameter = signature.parameters.get(name)
        if parameter and parameter.annotation in _BOOLEANS and not isinstance(value, bool):
            raise ConfigurationError(f"{name} must be true or false; found {value!r:.60}")
    if section in ("data", "model", "logger"):
        return
    if section == "trainer":
        import pima_hp.training.solo  # noqa: F401 -- it silences Lightning's tips
    original = Optimizer.add_param_group
    # The decorated method imports torch's compiler, which takes a second and is not used.
    Optimizer.add_param_group = getattr(original, "__wrapped__", original)  # type: ignore[method-assign]
    try:
        weight = torch.nn.Parameter(torch.zeros(1))
        given: dict[str, Any] = {"optimizer": [weight], "scheduler": SGD([weight], lr=0.1)}
        built: Any = build(node, found, *([given[section]] if section in given else []))
        if section == "activation":
            built(weight * 1).backward()
    finally:
        Optimizer.add_param_group = original  # type: ignore[method-assign]


def _outside(key: str, node: Component, folder: Path) -> Iterator[str]:
    """Yield one line for each path of a callback or logger that leaves the study's folder."""
    for name, value in node.arguments.items():
        text = re.sub("^(file|local):(//)?", "", value) if isinstance(value, str) else ""
        if not text or "://" in text:
            continue
        path = Path(text)
        is_path = path.is_absolute() or name.endswith(("dir", "path"))
        if not path.resolve().is_relative_to(folder) if is_path else ".." in path.parts:
            yield f"{key}.{name}: must lie in the study's folder {str(folder)!r}; found {str(path)!r:.200}"
