"""A chart with its title and caption, and what captions say of the runs that are drawn."""

import json
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import pandas as pd
import vl_convert

from pima_hp.report import style
from pima_hp.report.panels import Spec, still
from pima_hp.report.settings import Comparison, fixed_sentence, label, literal
from pima_hp.report.tables import COUNTED

CIRCLE = re.compile(r'<path (?:aria-hidden="true" )?transform="translate\(([-\d.]+),([-\d.]+)\)" d="M([\d.]+),0A[^"]*"')
"""As Vega writes one."""


@dataclass(frozen=True)
class Figure:
    """A chart, and what stands above and below it."""

    title: str  # what it shows, in a few words
    caption: list[str]  # sentences: how many replicates, what the marks are, what is missing, fixed, left out
    spec: Spec  # the chart, Vega-Lite; with layers that answer a pointer

    def svg(self) -> str:
        """The chart alone, still; circles and numbers written shorter than Vega does."""
        text: str = vl_convert.vegalite_to_svg(still(self.spec))
        text = re.sub(r' (?:transform|d)="[^"]*"', lambda found: re.sub(r"(\.\d)\d+", r"\1", found[0]), text)
        text = text.replace(' stroke-width="2" opacity="1"/>', "/>")  # of circles, which have no stroke
        return CIRCLE.sub(r'<circle cx="\1" cy="\2" r="\3"', text)

    def framed(self, svg: str) -> str:
        """The chart under its title and above its caption, on white: a picture that stands alone."""
        width, height = (float(svg.split(f' {key}="')[1].split('"')[0]) for key in ("width", "height"))
        width = max(width, 560)
        sentences = textwrap.wrap(" ".join(self.caption), int(width / 5.6))
        rows = enumerate(map(escape, sentences))
        lines = [f'<text x="8" y="{height + 52 + 15 * n}" font-size="11.5">{line}</text>' for n, line in rows]
        whole = height + 52 + 15 * len(lines)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{whole}" viewBox="0 0 {width} {whole}" '
            f'font-family="{style.FONT}" fill="{style.INK}"><rect width="{width}" height="{whole}" fill="#ffffff"/>'
            f'<text x="8" y="24" font-size="16" font-weight="bold">{escape(literal(self.title, 70))}</text>'
            f'<svg x="4" y="34" width="{width}" height="{height}">{svg}</svg>{"".join(lines)}</svg>\n'
        )


def figure(
    title: str,
    comparison: Comparison,
    factor: str,
    told: Sequence[str],
    panels: Sequence[Spec],
    n_columns: int,
    *,
    most_columns: int | None = None,
    params: Sequence[Spec] = (),
) -> Figure:
    """Panels as one figure. The caption says what is drawn, and of what; `usermeta` what the page needs to fit it."""
    schema = "https://vega.github.io/schema/vega-lite/v6.json"
    resolve = {"scale": dict.fromkeys(("x", "y", "yOffset", "color"), "independent")}
    config = json.loads(json.dumps(style.CONFIG))
    aside = max((panel.get("usermeta", {}).get("aside", 0) for panel in panels), default=0)
    fit = {"aside": aside, "gap": style.GAP, "columns": most_columns or len(panels)}
    spec = {"$schema": schema, "config": config, "columns": n_columns, "concat": list(panels), "resolve": resolve,
            "usermeta": fit, "params": list(params)}  # fmt: skip
    caption = [*_counts(comparison, factor), *told, *_context(comparison, factor)]
    return Figure(f"{title}, by {label(factor)}", caption, spec)


def missing(runs: pd.DataFrame) -> str:
    """How many runs have no, or no whole, curve."""
    by_status = {status: int((runs["status"] == status).sum()) for status in COUNTED.values()}
    return ", ".join(f"{n} of {len(runs)} {status}" for status, n in by_status.items() if n)


def _counts(comparison: Comparison, factor: str) -> list[str]:
    """How many replicates there are, how many of the runs are missing, how many values are drawn."""
    sizes = [len(runs) for runs in comparison.levels(factor).values()]
    number = f"{max(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    told = [f"{number} replicate{'' if max(sizes) == 1 else 's'} a setting."]
    if lost := missing(comparison.frame):
        told.append(f"Missing: {lost}; a mean is over the runs that have a value.")
    if (n_values := comparison.settings[factor].nunique()) > len(sizes):
        told.append(f"Drawn: {len(sizes)} of {n_values} values, evenly spaced.")
    return told


def _context(comparison: Comparison, factor: str) -> list[str]:
    """What is fixed and what is left out."""
    fixed = fixed_sentence(comparison, [factor])
    told = [f"Fixed: {fixed}."] if fixed else []
    if comparison.n_others:
        differing = ", ".join(label(key) for key in comparison.differing[:6])
        told.append(f"Not drawn: {comparison.n_others} other combinations of {differing}.")
    return told
