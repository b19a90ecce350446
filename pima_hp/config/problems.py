"""Errors of pydantic as one line each: what must hold, and what was found."""

import difflib
import re
from collections.abc import Iterable

from pydantic import ValidationError

# Names in other projects -> the setting here.
SYNONYMS = {
    **dict.fromkeys(("lr", "learning_rate"), "optimizer.lr"),
    **dict.fromkeys(("epochs", "max_epochs"), "trainer.max_epochs"),
    **dict.fromkeys(("hidden", "hidden_size"), "model.hidden_widths"),
    **dict.fromkeys(("name", "task_name"), "study"),
    **dict.fromkeys(("patience", "early_stopping"), "callbacks=early_stopping"),
    "batch_size": "batch.size",
    "gpus": "trainer=gpu",
}

_RULES = {"missing": "must be given; found none", "extra_forbidden": "no such setting"}


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `; nearest: <name>` for a likely typo, else an empty string."""
    found = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f"; nearest: {found[0]}" if found else ""


def not_an_option(group: str, found: object, allowed: Iterable[str]) -> str:
    """Return the refusal of an option that a group does not have."""
    return f"{group}: must be one of {', '.join(allowed)}; found {found!r:.60}{nearest(str(found), allowed)}"


def problems_of(error: ValidationError) -> list[str]:
    """Return one line for each problem: `optimizer.lr: must be greater than 0; found -1`."""
    lines: list[str] = []
    for item in error.errors(include_url=False):
        rule = _RULES.get(item["type"]) or re.sub(r"^\w+ should", "must", item["msg"]).removeprefix("Value error, ")
        found = "" if item["type"] in ("missing", "value_error") else f"; found {item['input']!r:.60}"  # said already
        line = f"{'.'.join(map(str, item['loc']))}: {rule}{found}"
        lines.append(line.replace(": _target_: ", "._target_: "))
    return list(dict.fromkeys(lines))
