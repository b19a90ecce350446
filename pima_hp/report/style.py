"""One look for every figure: colours that mean one thing, sizes, fonts, lines.

Colours are those of Okabe and Ito (2008), told apart with any colour vision. Blue and vermillion mean
training and watched rows everywhere, so no value of a hyperparameter ever has them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

Slot = tuple[str, tuple[int, int]]
"""Colour and dash of a line."""

BLUE, VERMILLION, GREY = "#0072B2", "#D55E00", "#6B6B6B"
GREEN, ORANGE, SKY, PURPLE, BLACK = "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000"

SOLID, DASHED, DOTTED = (1, 0), (6, 3), (2, 2)
TRAINING_COLOUR, WATCHED_COLOUR, MAJORITY_COLOUR = BLUE, VERMILLION, GREY
MAJORITY_DASH = (4, 4)
LINE_WIDTH, BAND_OPACITY = 1.8, 0.18

SLOTS: tuple[Slot, ...] = tuple(
    (colour, dash) for dash in (SOLID, DASHED, DOTTED) for colour in (GREEN, ORANGE, SKY, PURPLE, BLACK)
)
"""What the lines of values may look like; five colours, then the same dashed, then dotted."""

_KNOWN = (
    "relu leaky_relu tanh sigmoid identity elu gelu silu softplus",
    "adam rmsprop adamax adagrad sgd adamw nadam sgd_momentum",
    "10 5 16 32 full 64 128 1",
    "standard minmax none",
    "glorot_uniform uniform he_normal torch_default",
)
KNOWN: Mapping[str, Slot] = {
    value: slot for values in _KNOWN for value, slot in zip(values.split(), SLOTS, strict=False)
}
"""Values of the article's questions, one row a hyperparameter; `slots` finds one for any other."""


def slots(values: Iterable[str]) -> dict[str, Slot]:
    """Colour and dash of each value, the same in every figure that is given the same values.

    A known value always has its slot. Another starts at a slot that follows from its text and takes the
    next free one, in sorted order; with more than 15 values slots repeat.
    """
    distinct = sorted(set(values))
    taken = {value: KNOWN[value] for value in distinct if value in KNOWN}
    for value in distinct:
        if value not in taken:
            start = hashlib.sha256(value.encode(errors="replace")).digest()[0] % 5
            order = [*SLOTS[start:], *SLOTS[:start]]
            taken[value] = next((slot for slot in order if slot not in taken.values()), order[0])
    return taken


def panel_columns(n_panels: int) -> int:
    """Panels side by side: 2 by 2 for four, else rows of three (of four beyond twelve)."""
    if n_panels in (1, 2, 4):
        return min(n_panels, 2)
    return 3 if n_panels <= 12 else 4


def panel_size(n_columns: int) -> tuple[int, int]:
    """Width and height of a panel in px, such that a figure is about 900 px wide (1,800 in its PNG)."""
    return {1: (640, 340), 2: (380, 230), 3: (245, 190)}.get(n_columns, (180, 150))


CAPTION_CHARACTERS = 125
PANEL_TITLE: Mapping[str, Any] = {"fontSize": 13, "offset": 6}
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"  # vl-convert ships the first; the others have its widths
CONFIG: Mapping[str, Any] = {
    "font": FONT,
    "background": "white",
    "padding": 14,
    "view": {"stroke": None},
    "concat": {"spacing": 22},
    "title": {"anchor": "start", "fontSize": 17, "subtitleFontSize": 12.5, "subtitleColor": "#444444",
              "subtitleLineHeight": 17, "subtitlePadding": 6, "offset": 14},
    "axis": {"labelFontSize": 12, "titleFontSize": 12.5, "titleFontWeight": "normal",
             "titlePadding": 8, "gridColor": "#E8E8E8", "domainColor": "#888888", "tickColor": "#888888",
             "labelColor": "#333333"},
    "legend": {"labelFontSize": 12.5, "titleFontSize": 12.5, "labelLimit": 260, "symbolSize": 400,
               "symbolStrokeWidth": 2.2, "columnPadding": 24},
}  # fmt: skip
