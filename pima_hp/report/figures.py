"""One function a figure: the frame of a study in, an Altair chart out, for PNG, SVG or a page."""

import io
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd

from pima_hp.report import style
from pima_hp.report.files import write_whole
from pima_hp.report.panels import MAX_POINTS, MAX_ROWS, Scene, accuracy_range, figure, panel, points
from pima_hp.report.settings import Comparison, comparable, display_names, fixed_sentence, label, watched_rows

MAJORITY = 500 / 768
"""Accuracy of always predicting the more frequent class of the table that ships with the package."""

TRAINING, WATCHED = "train/accuracy", "val/accuracy"


def learning_curves(
    frame: pd.DataFrame, factor: str, title: str | None = None, *, majority: float | None = MAJORITY
) -> alt.ConcatChart:
    """Accuracy against epoch, a panel a value: training and watched rows, mean and 5-95 % band.

    Args:
        frame: one row a run; of the other settings one combination is drawn (see `comparable`).
        factor: the setting that differs between panels (`batch.size`).
        title: of the figure; the factor's name when not given.
        majority: accuracy of always predicting the more frequent class, a dashed line; None for no line.
    """
    comparison = comparable(frame, [factor])
    levels = comparison.levels(factor)
    names = {TRAINING: "training (running)", WATCHED: watched_rows(comparison)}
    shown_as = display_names(levels)
    shown = {value: points(runs, names, band=True) for value, runs in levels.items()}
    colours = (style.TRAINING_COLOUR, style.WATCHED_COLOUR)
    scene = Scene(
        lines={name: (colour, style.SOLID) for name, colour in zip(names.values(), colours, strict=True)},
        n_epochs=_n_epochs(comparison.frame),
        accuracy_range=accuracy_range([point for some in shown.values() for point in some], majority),
        majority=majority,
    )
    n_columns = style.panel_columns(len(levels))
    panels = []
    for index, (value, runs) in enumerate(levels.items()):
        heading = alt.TitleParams(
            f"{label(factor)} {shown_as[value]}",
            subtitle=(_missing(runs) or "all completed") if _missing(comparison.frame) else alt.Undefined,
            limit=style.panel_size(n_columns)[0],
            **style.PANEL_TITLE,
        )
        panels.append(panel(shown[value], scene, heading, y_title=index % n_columns == 0))
    band = "Lines: mean over replicates; bands: 5-95 % of single runs."
    single = "Lines: a single run each, so there is no band."
    sentence = band if max(map(len, levels.values())) > 1 else single
    return figure(
        panels,
        n_columns,
        title or label(factor).capitalize(),
        _caption(comparison, factor, sentence, MAX_POINTS),
    )


def overlaid_curves(
    frame: pd.DataFrame, factor: str, title: str | None = None, *, majority: float | None = MAJORITY
) -> alt.ConcatChart:
    """Mean accuracy against epoch, a line a value: one panel of training rows, one of watched rows.

    Arguments as in `learning_curves`. No bands, which would cover each other: `learning_curves` has them.
    """
    comparison = comparable(frame, [factor])
    levels = comparison.levels(factor)
    slots = style.slots(levels)
    shown_as = display_names(levels)
    headings = {TRAINING: "training rows (running)", WATCHED: f"{watched_rows(comparison)} rows"}
    max_points = min(MAX_POINTS, max(2, MAX_ROWS // len(levels)))
    shown = {
        column: [
            point
            for value, runs in levels.items()
            for point in points(runs, {column: shown_as[value]}, band=False, max_points=max_points)
        ]
        for column in headings
    }
    scene = Scene(
        lines={shown_as[value]: slots[value] for value in levels},
        n_epochs=_n_epochs(comparison.frame),
        accuracy_range=accuracy_range([point for some in shown.values() for point in some], majority),
        majority=majority,
        legend_title=label(factor),
    )
    panels = [
        panel(shown[column], scene, alt.TitleParams(heading, **style.PANEL_TITLE), y_title=index == 0)
        for index, (column, heading) in enumerate(headings.items())
    ]
    sentence = "Lines: mean over replicates." if max(map(len, levels.values())) > 1 else "Lines: a single run each."
    return figure(
        panels,
        len(panels),
        title or label(factor).capitalize(),
        _caption(comparison, factor, sentence, max_points),
    )


def save(chart: alt.ConcatChart, path_without_suffix: Path) -> list[Path]:
    """Write PNG (two pixels a px) and SVG through vl-convert: no browser, no network; whole files or none."""
    png, svg = io.BytesIO(), io.StringIO()
    chart.save(png, format="png", scale_factor=2)
    chart.save(svg, format="svg")
    contents = {".png": png.getvalue(), ".svg": svg.getvalue().encode()}
    base = Path(path_without_suffix)
    return [write_whole(base.with_name(base.name + suffix), content) for suffix, content in contents.items()]


def _n_epochs(runs: pd.DataFrame) -> int:
    return max(np.size(curve) for key in (TRAINING, WATCHED) for curve in runs[key])


def _missing(runs: pd.DataFrame) -> str:
    """How many runs of a panel have no, or no whole, curve."""
    counts = {status: int((runs["status"] == status).sum()) for status in ("diverged", "failed")}
    return ", ".join(f"{n} of {len(runs)} {status}" for status, n in counts.items() if n)


def _caption(comparison: Comparison, factor: str, lines: str, max_points: int) -> list[str]:
    """How many replicates, what the marks are, what is missing, what is fixed, what is left out."""
    sizes = [len(runs) for runs in comparison.levels(factor).values()]
    least, most = min(sizes), max(sizes)
    number = f"{most}" if least == most else f"{least} to {most}"
    sentences = [f"{number} replicate{'' if most == 1 else 's'} a setting. {lines}"]
    if missing := _missing(comparison.frame):
        sentences[0] += f" Missing: {missing}; a mean is over the runs that have a value."
    if _n_epochs(comparison.frame) > max_points:
        sentences[0] += f" Drawn at {max_points} evenly spaced epochs."
    if fixed := fixed_sentence(comparison, [factor]):
        sentences.append(f"Fixed: {fixed}.")
    if comparison.n_others:
        differing = ", ".join(label(key) for key in comparison.differing[:6])
        sentences.append(f"Not drawn: {comparison.n_others} other combinations of {differing}.")
    return sentences
