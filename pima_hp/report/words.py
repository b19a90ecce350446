"""The words of the report are in templates beside this file; sections compute the numbers and names in them."""

from typing import Any

import jinja2
from markupsafe import Markup

from pima_hp.formatting import counted, interval_text, label, listed, shown, with_labels


def _printable(value: Any) -> Any:
    """Return a value as the page may show it: no control characters, at most 2,000 characters."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return shown(" ".join(value.split()) if value.strip() else value, 2_000)


TEMPLATES = jinja2.Environment(
    autoescape=jinja2.select_autoescape(["html", "svg"]), undefined=jinja2.StrictUndefined, trim_blocks=True,
    lstrip_blocks=True, finalize=_printable, loader=jinja2.PackageLoader("pima_hp", "report"),
)  # fmt: skip
TEMPLATES.filters |= {"counted": counted, "label": label, "listed": listed}
TEMPLATES.globals |= {"interval_text": interval_text, "with_labels": with_labels}


def words(name: str, **values: Any) -> dict[str, Any]:
    """Return the words of a section by their field (`question`, `answer`, `note`): the blocks of `words/<name>.txt`."""
    template = TEMPLATES.get_template(f"words/{name}.txt")
    context = template.new_context(values)
    return {field: " ".join("".join(block(context)).split()) for field, block in template.blocks.items()}
