"""Errors of pydantic as one line each: what must hold, and what was found."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

RENAMED = {
    "trainer.epochs": "trainer.max_epochs",
    "trainer.engine": "engine",
    "trainer.stack_size": "engine.stack_size",
    "materialize": "export",
    "logger.per_run": "log_each_run",
    "logger.tensorboard": "logger (logger=tensorboard)",
    "logger.csv": "logger (logger=csv)",
}

SYNONYMS = {
    "learning_rate": "optimizer.lr",
    "lr": "optimizer.lr",
    "epochs": "trainer.max_epochs",
    "max_epochs": "trainer.max_epochs",
    "batch_size": "batch.size",
    "shuffle": "batch.shuffle",
    "patience": "callbacks.early_stopping.patience, with callbacks=early_stopping",
    "early_stopping": "callbacks=early_stopping",
    "task_name": "study",
    "hidden": "model.hidden_widths",
    "hidden_size": "model.hidden_widths",
    "gpus": "trainer=gpu",
    "precision": "trainer.precision",
    "replicates": "n_replicates",
    "name": "study",
}
"""Words of other projects -> the setting here."""

_RULES = {"missing": "must be given", "extra_forbidden": "no such setting"}


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `; nearest: <name>` for a likely slip of the finger, else nothing."""
    found = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f"; nearest: {found[0]}" if found else ""


def shown(value: object, longest: int = 60) -> str:
    """Return a value as it may stand in one line of a terminal: escaped and cut."""
    return repr(value)[:longest]


def problems_of(error: ValidationError, section: str = "", _model: object = None) -> list[str]:
    """Return one line for each problem of the settings, or of one section of them."""
    lines: list[str] = []
    for item in error.errors(include_url=False):
        key = ".".join(map(str, [section, *item["loc"]] if section else item["loc"]))
        if item["type"] == "value_error":  # of a validator here; its lines may begin with the key below this one
            parts = re.findall(r"^(?:(\w+): )?(.*)$", str(item["ctx"]["error"]), re.MULTILINE)
            lines += [f"{'.'.join(filter(None, (key, below)))}: {text}" for below, text in parts]
        else:
            rule = _RULES.get(item["type"]) or re.sub(r"^\w+ should", "must", item["msg"])
            lines.append(f"{key}: {rule}; found {item['input']!r:.60}")
    return list(dict.fromkeys(lines))


def parse_sections(
    settings: Mapping[str, Any], models: Mapping[str, type[BaseModel]]
) -> tuple[dict[str, Any], list[str]]:
    """Check each section by itself, so that all problems are found at once.

    Returns:
        The sections that are sound, and the problems of the others.
    """
    sound: dict[str, Any] = {}
    problems: list[str] = []
    for name, model in models.items():
        try:
            sound[name] = model.model_validate(settings.get(name))
        except ValidationError as error:
            problems += problems_of(error, name, model)
    return sound, problems
