"""One look for every figure: colours that mean one thing, sizes, fonts, lines.

Colours are those of Okabe and Ito (2008), told apart with any colour vision. Blue and vermillion mean
training and watched rows everywhere, so no value of a hyperparameter ever has them. The page maps the
inks (`INK`, `SOFT`, `GRID`, black) to light ones where the reader prefers dark: see `page.css`.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Slot = tuple[str, tuple[int, int]]
"""Colour and dash of a line."""

BLUE, VERMILLION = "#0072B2", "#D55E00"
GREEN, ORANGE, SKY, PURPLE, BLACK = "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#000000"
INK, SOFT, GRID = "#222222", "#6B6B6B", "#E6E6E6"

SOLID, DASHED, DOTTED = (1, 0), (6, 3), (2, 2)
TRAINING_COLOUR, WATCHED_COLOUR = BLUE, VERMILLION
TINTS = {BLUE: "#CFE3F1", VERMILLION: "#FAE3D3"}
"""Of bands that lie over each other."""
LINE_WIDTH, BAND_OPACITY, DOT_OPACITY = 1.8, 0.12, 0.6

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

    A known value always has its slot; others take the free ones in sorted order, again from the first
    when there are more than 15 values.
    """
    distinct = sorted(set(values))
    taken = {value: KNOWN[value] for value in distinct if value in KNOWN}
    free = [slot for slot in SLOTS if slot not in taken.values()]
    return taken | dict(zip([value for value in distinct if value not in taken], itertools.cycle(free or SLOTS)))


def evenly_spaced(n: int, most: int) -> NDArray[np.intp]:
    """Places of n things, or of so many of them, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, max(0, n - 1), min(n, most)).round().astype(np.intp))


def columns_and_size(n_panels: int) -> tuple[int, int, int]:
    """Panels side by side, width and height of one in px: a figure is about 560 px wide."""
    if n_panels == 1:
        return 1, 440, 300
    return (2, 178, 150) if n_panels <= 8 else (3, 96, 110)


GAP = 18
"""Between panels, px."""

PNG_SCALE = 2
"""Pixels of a PNG for each px: about 1,100 for the width of a figure."""

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"  # vl-convert ships the first; the others have its widths
CONFIG: Mapping[str, Any] = {
    "font": FONT,
    "background": None,
    "padding": 4,
    "view": {"stroke": None},
    "concat": {"spacing": GAP},
    "title": {"anchor": "start", "frame": "group", "fontSize": 12.5, "color": INK, "offset": 6,
              "subtitleFontSize": 11, "subtitleColor": SOFT, "subtitlePadding": 2},
    "axis": {"labelFontSize": 11, "titleFontSize": 11.5, "titleFontWeight": "normal", "titlePadding": 6,
             "gridColor": GRID, "domainColor": SOFT, "tickColor": SOFT, "labelColor": INK, "titleColor": INK},
    "legend": {"labelFontSize": 12, "labelColor": INK, "symbolSize": 300, "symbolStrokeWidth": 2.5},
    "text": {"fontSize": 11.5, "color": INK},
}  # fmt: skip
