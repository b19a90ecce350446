"""Errors of pydantic as one line each: what must hold, what was found, what is allowed, the nearest name."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a word",
    "list": "a list",
    "model": "a group of settings",
    "dict": "a group of settings",
}


RENAMED = {
    "trainer.epochs": "trainer.max_epochs",
    "trainer.engine": "engine",
    "trainer.stack_size": "engine.stack_size",
    "materialize": "export",
    "logger.per_run": "log_each_run",
    "logger.tensorboard": "logger (logger=tensorboard)",
    "logger.csv": "logger (logger=csv)",
}
"""Settings that had another name -> their name now."""

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


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `; nearest: <name>` for a likely slip of the finger, else nothing."""
    found = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f"; nearest: {found[0]}" if found else ""


def shown(value: object, longest: int = 60) -> str:
    """Return a value as it may stand in one line of a terminal: escaped and cut."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def problems_of(error: ValidationError, section: str, model: type[BaseModel]) -> list[str]:
    """Return one line for each problem of one section of the settings."""
    lines = []
    for item in error.errors(include_url=False):
        path = [str(part) for part in item["loc"]]
        key = ".".join([section, *path] if section else path)
        message, context = item["msg"], item.get("ctx", {})
        kind = item["type"]
        if kind == "value_error":
            text = str(context["error"])
            lines += [f"{_joined(key, line)}" for line in text.split("\n")]
            continue
        if key in RENAMED:
            lines.append(f"{key}: is called {RENAMED[key]} now")
        elif kind == "extra_forbidden":
            fields = [field.alias or name for name, field in model.model_fields.items()]
            hint = nearest(path[-1], fields) or f"; allowed: {', '.join(sorted(fields))}"
            lines.append(f"{key}: no such setting{hint}")
        elif kind == "missing":
            lines.append(f"{key}: must be given")
        elif kind == "literal_error":
            allowed = context["expected"].replace(" or ", ", ").replace("'", "")
            hint = nearest(str(item["input"]), allowed.split(", "))
            lines.append(f"{key}: must be one of {allowed}; found {shown(item['input'])}{hint}")
        elif kind == "finite_number":
            lines.append(f"{key}: must be a finite number; found {shown(item['input'])}")
        elif kind == "int_parsing_size":
            lines.append(f"{key}: must be a whole number of at most 18 digits; found {shown(item['input'])}")
        elif kind.endswith("_type"):
            wanted = _KINDS.get(kind.removesuffix("_type"), kind)
            lines.append(f"{key}: must be {wanted}; found {shown(item['input'])}")
        else:
            requirement = (
                message.removeprefix("Input ")
                .removeprefix("String ")
                .removeprefix("List ")
                .replace("should", "must", 1)
            )
            lines.append(f"{key}: {requirement}; found {shown(item['input'])}")
    return list(dict.fromkeys(lines))


def _joined(key: str, line: str) -> str:
    """`optimizer` + `lr: must ...` -> `optimizer.lr: must ...`; `batch.size` + `must ...` -> `batch.size: must ...`."""
    name, colon, _ = line.partition(": ")
    return f"{key}.{line}" if colon and name.isidentifier() else f"{key}: {line}"


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
