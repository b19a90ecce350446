"""One look for every figure: colors that mean one thing, sizes, fonts.

Colors are those of Okabe and Ito (2008), which are distinct in any color vision. Blue and vermillion mean training
and validation rows everywhere, so no value of a hyperparameter has them. Ink is the text color of the page, so that
figures follow its dark mode.
"""

import itertools
from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Slot = tuple[str, list[int]]
"""Color and dash of a line."""

INK = "currentColor"
TRAINING_COLOR, VALIDATION_COLOR = "#0072B2", "#D55E00"
COLORS = ("#009E73", "#E69F00", "#56B4E9", "#CC79A7", INK)
DASHES = ([1, 0], [6, 3], [2, 2])
SLOTS = [(color, dash) for dash in DASHES for color in COLORS]
"""Five colors, then the same dashed, then dotted."""

FONT = "Liberation Sans, Arial, Helvetica, sans-serif"  # vl-convert ships the first; the others have its widths
_TEXT = {"labelFontSize": 11, "titleFontSize": 11.5, "labelColor": INK, "titleColor": INK, "titleFontWeight": "normal"}
CONFIG: dict[str, Any] = {
    "font": FONT,
    "background": None,
    "padding": 4,
    "view": {"stroke": None},
    "title": {"anchor": "start", "frame": "group", "fontSize": 12.5, "color": INK, "offset": 6,
              "subtitleColor": INK, "subtitleFontSize": 11},
    "axis": {**_TEXT, "gridColor": INK, "gridOpacity": 0.12, "domainColor": INK, "domainOpacity": 0.6,
             "tickColor": INK, "tickOpacity": 0.6, "titlePadding": 6},
    "text": {"fontSize": 11, "color": INK},
    "rule": {"color": INK},
}  # fmt: skip


def slots(values: Iterable[Hashable]) -> dict[Hashable, Slot]:
    """Return the color and dash of each value, the same in every figure of the same values."""
    return dict(zip(values, itertools.cycle(SLOTS), strict=False))


def evenly_spaced(n: int, most: int) -> NDArray[np.intp]:
    """Return the places of n things, or of `most` of them, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, max(0, n - 1), min(n, most)).round().astype(np.intp))
