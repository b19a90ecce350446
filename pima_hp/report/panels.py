"""What figures are made of, in Vega-Lite: a panel of curves, of waiting times; single runs are in `strips`.

Layers whose name begins with `hover` are for the page: `still` takes them out of a chart for paper.
A panel's `usermeta` says how many px its labels take beside it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pima_hp.report import style

MOST_DIRECT = 8
"""Lines that are named at their end; of more, a key is needed."""

Spec = dict[str, Any]
Ends = tuple[float, float]
NEAREST = {"on": "pointermove", "clear": "pointerout", "nearest": True}
"""A selection of what is nearest to the pointer, until it leaves the panel."""

TOLD = {"value": {"expr": "(datum.datum || datum).told"}}
"""A tooltip of what is nearest; named fields would be looked for in the wrong place (Vega-Lite 6)."""


def curves_panel(
    points: list[Spec], colours: Mapping[str, str], ends: Ends, n_epochs: int, level: float | None, y_title: str | None,
    hover: str = "hover",
) -> Spec:  # fmt: skip
    """Bands below, then the dashed level of the majority class, then mean lines, named at their ends.

    Points have `line`, `epoch`, `mean` and, where there is a band, `low` and `high`; the ends are those of the y axis.
    The layer called `hover` asks a selection `at` for the epoch.
    """
    x, y = _epochs(n_epochs), position("mean", y_title, ends, digits=".2f")
    layers: list[Spec] = []
    if any("low" in point for point in points):
        # Tints hide what is below them, so that one band over the other does not turn grey; outlines stay visible.
        for name, filled in [(name, filled) for filled in (True, False) for name in reversed(list(colours))]:
            colour = colours[name]
            look = {"color": style.TINTS[colour]} if filled else {"filled": False, "stroke": colour, "strokeWidth": 0.5}
            encoding = {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}
            one = {"filter": {"field": "line", "equal": name}}
            layers.append({"transform": [one], "mark": {"type": "area", "opacity": 1, **look}, "encoding": encoding})
    if level is not None:
        layers.append(rule("y", level))
    domain = {"domain": list(colours), "range": list(colours.values())}
    encoding = {"x": x, "y": y, "color": {"field": "line", "type": "nominal", "scale": domain, "legend": None}}
    layers.append({"mark": {"type": "line", "strokeWidth": style.LINE_WIDTH}, "encoding": encoding})
    if len({point["epoch"] for point in points}) == 1:  # a line through one point is invisible
        layers.append({"mark": {"type": "circle", "size": 45, "opacity": 1}, "encoding": encoding})
    last = {point["line"]: (point["epoch"], point["mean"]) for point in points}
    if level is not None:
        last["majority"] = n_epochs, level
    inks = {**colours, "majority": style.SOFT}
    layers += _names_at_ends(last, inks, x, y, ends, 11 / 150)
    shown = {"condition": {"param": "at", "value": 0.7, "empty": False}, "value": 0}
    layers.append(
        {"name": hover, "data": {"values": _told_at_epochs(points, "mean", {name: name for name in colours})},
         "mark": {"type": "rule", "color": style.INK},
         "encoding": {"x": x, "opacity": shown, "tooltip": TOLD}}
    )  # fmt: skip
    return {"data": {"values": points}, "layer": layers, "usermeta": {"aside": 104 if y_title else 88}}


def key_panel(notes: Mapping[str, Spec]) -> Spec:
    """What lines and areas are, in the place of a panel: text -> its mark."""
    rows = [{"at": number, "text": text} for number, text in enumerate(notes)]
    at = {"type": "quantitative", "axis": None, "scale": {"domain": [-1, max(5, len(notes))], "reverse": True}}
    samples = [
        {"data": {"values": [{"at": number}]}, "mark": mark,
         "encoding": {"x": {"value": 2}, "x2": {"value": 26}, "y": {"field": "at", **at}}}
        for number, mark in enumerate(notes.values())
    ]  # fmt: skip
    texts = {"mark": {"type": "text", "align": "left", "fontSize": 11}, "data": {"values": rows},
             "encoding": {"x": {"value": 34}, "y": {"field": "at", **at}, "text": {"field": "text"}}}  # fmt: skip
    return {"layer": [*samples, texts]}


def waiting_panel(points: list[Spec], slots: Mapping[str, style.Slot], n_epochs: int, y_title: str, what: str) -> Spec:
    """Share of runs still waiting against epoch, a step line a value, named at its end where there is room.

    `what` the values are of, for a pointer: the line nearest to it stands out while it stays.
    """
    x, y = _epochs(n_epochs, first=0), position("share", y_title, (0, 1), digits=".1f")
    names = list(slots)
    dashes = {"domain": names, "range": [list(dash) for _, dash in slots.values()]}
    direct = len(slots) <= MOST_DIRECT
    colour = {"field": "line", "type": "nominal", "legend": None,
              "scale": {"domain": names, "range": [colour for colour, _ in slots.values()]}}  # fmt: skip
    dash = {"field": "line", "type": "nominal", "scale": dashes, "legend": None}
    lit = {"opacity": {"condition": {"param": "lit", "value": 1}, "value": 0.15}}
    line = {"type": "line", "interpolate": "step-after", "strokeWidth": style.LINE_WIDTH + 0.4}
    area = {"type": "area", "interpolate": "step-after", "opacity": 1, "fillOpacity": style.BAND_OPACITY}
    band = {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour}
    at_epochs = _told_at_epochs(points, "share", {name: f"{what} {name}" for name in names[:MOST_DIRECT]})
    lookup = {"data": {"values": at_epochs}, "key": "epoch", "fields": ["told"]}
    bands = {"transform": [{"filter": "datum.share < 1"}], "mark": area, "encoding": {**band, **lit}}
    layers = [
        *([bands] if direct else []),  # more than a few would hide each other
        {"mark": line, "encoding": {"x": x, "y": y, "color": colour, "strokeDash": dash, **lit}},
        {"name": "hover", "mark": {"type": "circle", "size": 60},
         "transform": [{"lookup": "epoch", "from": lookup}],
         "params": [{"name": "lit", "select": {"type": "point", "fields": ["line"], **NEAREST}},
                    {"name": "spot", "select": {"type": "point", "fields": ["line", "epoch"], **NEAREST}}],
         "encoding": {"x": x, "y": y, "color": colour, "tooltip": TOLD,
                      "opacity": {"condition": {"param": "spot", "value": 1, "empty": False}, "value": 0}}},
    ]  # fmt: skip
    aside = 0
    if direct:
        last = {point["line"]: (point["epoch"], point["share"]) for point in points}  # points are in order of epochs
        layers += _names_at_ends(last, {name: ink for name, (ink, _) in slots.items()}, x, y, (0, 1), 0.05, lit)
        aside = 24 + 7 * max(map(len, slots), default=0)
    return {"data": {"values": points}, "layer": layers, "usermeta": {"aside": 52 + aside}}


def interval_text(mean: float, lower: float, upper: float) -> str:
    """As many digits as the interval bears: `0.742 [0.731, 0.752]`; three where it is a point."""
    return interval_texts([(mean, lower, upper)])[0]


def interval_texts(estimates: Sequence[tuple[float, float, float]]) -> list[str]:
    """The same of a column: all with the decimals of the widest interval; a number alone where there is none."""
    halves = [(upper - lower) / 2 for _, lower, upper in estimates if math.isfinite(upper - lower) and upper > lower]
    decimals = min((min(5, max(0, math.ceil(0.3 - math.log10(half)))) for half in halves), default=3)

    def number(value: float) -> str:
        return (f"{value:.3g}" if abs(value) >= 1e5 else f"{value:.{decimals}f}").replace("-", "\N{MINUS SIGN}")

    def text(mean: float, *ends: float) -> str:
        interval = f" [{', '.join(map(number, ends))}]" if math.isfinite(sum(ends)) else ""
        return f"{number(mean)}{interval}" if math.isfinite(mean) else "no value"

    return [text(*estimate) for estimate in estimates]


def still(spec: Any) -> Any:
    """The chart without what answers a pointer."""
    if isinstance(spec, list):
        return [
            still(item)
            for item in spec
            if not (isinstance(item, dict) and str(item.get("name", "")).startswith("hover"))
        ]
    if not isinstance(spec, dict):
        return spec
    pairs = [(key, item) for key, item in spec.items() if not (isinstance(item, dict) and "condition" in item)]
    return {key: item if key == "values" else still(item) for key, item in pairs if key != "params"}


def apart(heights: Mapping[str, float], gap: float, top: float = 1.0) -> dict[str, float]:
    """Heights moved as little as need be for labels to stand at least a gap apart, from the lowest up."""
    placed: dict[str, float] = {}
    lowest = -math.inf
    for name, height in sorted(heights.items(), key=lambda item: item[1]):
        lowest = placed[name] = max(height, lowest + gap)
    excess = max(0.0, max(placed.values(), default=0.0) - max(top, max(heights.values(), default=top)))
    return {name: height - excess for name, height in placed.items()}


def rule(channel: str, level: float) -> Spec:
    """A dashed line at a level of `x` or `y`."""
    mark = {"type": "rule", "strokeDash": [4, 4], "strokeWidth": 1.4, "color": style.SOFT}
    encoding = {channel: {"field": "level", "type": "quantitative"}}
    return {"data": {"values": [{"level": level}]}, "mark": mark, "encoding": encoding}


def position(field: str, title: str | None, ends: Ends, *, digits: str | None = None, log: bool = False) -> Spec:
    """A number on an axis between two ends."""
    scale = {"type": "log" if log else "linear", "domain": list(ends), "nice": False} | ({} if log else {"zero": False})
    axis: Spec = {"tickCount": 5, "labelOverlap": True, "labelSeparation": 6} | ({"format": digits} if digits else {})
    if log and 0 < ends[0] < ends[1] < 100 * ends[0]:  # powers of ten alone would be one or two
        steps, axis["format"] = ((1, 1.5, 2, 3, 4, 5, 7) if ends[1] < 20 * ends[0] else (1, 2, 5)), "~g"
        ticks = [float(f"{m}e{k}") for k in range(math.floor(math.log10(ends[0])), 9) for m in steps]
        axis["values"] = [tick for tick in ticks if ends[0] <= tick <= ends[1]]
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _names_at_ends(
    last: Mapping[str, tuple[int, float]], inks: Mapping[str, str], x: Spec, y: Spec, ends: Ends, gap: float,
    lit: Spec | None = None,
) -> list[Spec]:  # fmt: skip
    """Names of lines right of their ends (epoch, height), with a thin line to each; the gap is a share of the axis."""
    placed = apart({name: height for name, (_, height) in last.items()}, gap * (ends[1] - ends[0]), ends[1])
    labels = [
        {"line": name, "name": name.partition(" (")[0], "epoch": epoch, "end": height, "at": round(placed[name], 4),
         "ink": inks[name]}
        for name, (epoch, height) in last.items()
    ]  # fmt: skip
    shared = {"x": x, "color": {"field": "ink", "type": "nominal", "scale": None}, **(lit or {})}
    text = {"type": "text", "align": "left", "dx": 15, "fontWeight": "bold", "fontSize": 11}
    return [
        {"data": {"values": labels}, "mark": {"type": "rule", "strokeWidth": 0.8, "x2Offset": 13},
         "encoding": {**shared, "y": {**y, "field": "end"}, "x2": {"field": "epoch"}, "y2": {"field": "at"}}},
        {"data": {"values": labels}, "mark": text,
         "encoding": {**shared, "y": {**y, "field": "at"}, "text": {"field": "name"}}},
    ]  # fmt: skip


def _told_at_epochs(points: Sequence[Spec], field: str, names: Mapping[str, str]) -> list[Spec]:
    """What a pointer is told at each epoch: the numbers of all lines, by their names."""
    rows: dict[int, Spec] = {}
    for point in points:
        if point["line"] in names:
            band = f" [{point['low']:.3f}, {point['high']:.3f}]" if "low" in point else ""
            told = rows.setdefault(point["epoch"], {"epoch": point["epoch"]})
            told[names[point["line"]]] = f"{point[field]:.3f}{band}"
    return [{"epoch": epoch, "told": told} for epoch, told in rows.items()]


def _epochs(n_epochs: int, first: int = 1) -> Spec:
    """The first epoch and about five round ones."""
    magnitude = 10 ** max(0, len(str(n_epochs)) - 2)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if n_epochs <= 5 * step * magnitude) * magnitude
    axis = {"grid": False, "format": "d", "values": sorted({first, *range(step, n_epochs + 1, step)})}
    return {**position("epoch", "epoch", (first, max(n_epochs, first + 1))), "axis": axis}
