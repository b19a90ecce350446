"""What figures are made of, in Vega-Lite: a panel of curves, of waiting times, of single runs by value.

Layers whose name begins with `hover` are for the page: `still` takes them out of a chart for paper.
A panel's `usermeta` says how many px its labels take beside it.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pima_hp.record import Array
from pima_hp.report import style

MAX_DOTS = 200
"""Single runs drawn of a value; of more, so many evenly spaced order statistics."""

MOST_DIRECT = 8
"""Lines that are named at their end; more of them have a legend."""

ROW_HEIGHT = 36
Spec = dict[str, Any]
Ends = tuple[float, float]
NEAREST = {"on": "pointermove", "clear": "pointerout", "nearest": True}
"""A selection of what is nearest to the pointer, until it leaves the panel."""


@dataclass(frozen=True)
class Row:
    """Single runs of one value, their mean and its interval, in a panel of strips."""

    name: str
    slot: style.Slot
    values: Array
    mean: float
    lower: float
    upper: float
    note: str = ""  # below the numbers


def curves_panel(
    points: list[Spec], colours: Mapping[str, str], ends: Ends, n_epochs: int, level: float | None, y_title: str | None,
    hover: str = "hover",
) -> Spec:  # fmt: skip
    """Bands below, then the dashed level of the majority class, then mean lines, named at their ends.

    Points have `line`, `epoch`, `mean` and, where there is a band, `low` and `high`; the ends are those of the y axis.
    The layer called `hover` asks a selection `at` for the epoch.
    """
    x, y = _epochs(n_epochs), _position("mean", y_title, ends, digits=".2f")
    layers: list[Spec] = []
    if any("low" in point for point in points):
        # Tints hide what is below them, so that one band over the other does not turn grey; outlines stay visible.
        fill = {name: {"color": style.TINTS[colour]} for name, colour in colours.items()}
        line = {
            name: {"filled": False, "stroke": colour, "strokeWidth": 0.5, "strokeOpacity": 0.8}
            for name, colour in colours.items()
        }
        layers += [
            {"transform": [{"filter": {"field": "line", "equal": name}}],
             "mark": {"type": "area", "opacity": 1, **looks[name]},
             "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}}
            for looks in (fill, line) for name in reversed(colours)
        ]  # fmt: skip
    if level is not None:
        layers.append(_rule("y", level))
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
    told = [{"field": "epoch"}, *({"field": f"t{n}", "title": name} for n, name in enumerate(colours))]
    shown = {"condition": {"param": "at", "value": 0.7, "empty": False}, "value": 0}
    layers.append(
        {"name": hover, "data": {"values": _told_at_epochs(points, list(colours), "mean")},
         "mark": {"type": "rule", "color": style.INK},
         "encoding": {"x": x, "opacity": shown, "tooltip": told}}
    )  # fmt: skip
    return {"data": {"values": points}, "layer": layers, "usermeta": {"aside": 104 if y_title else 88}}


def key_panel(notes: Mapping[str, Spec]) -> Spec:
    """What lines and areas are, in the place of a panel: text -> its mark."""
    rows = [{"at": number, "text": text} for number, text in enumerate(notes)]
    at = {"type": "quantitative", "axis": None, "scale": {"domain": [-1, 5], "reverse": True}}
    samples = [
        {"data": {"values": [{"at": number}]}, "mark": mark,
         "encoding": {"x": {"value": 2}, "x2": {"value": 26}, "y": {"field": "at", **at}}}
        for number, mark in enumerate(notes.values())
    ]  # fmt: skip
    texts = {"mark": {"type": "text", "align": "left", "fontSize": 11}, "data": {"values": rows},
             "encoding": {"x": {"value": 34}, "y": {"field": "at", **at}, "text": {"field": "text"}}}  # fmt: skip
    return {"layer": [*samples, texts]}


def waiting_panel(points: list[Spec], slots: Mapping[str, style.Slot], n_epochs: int, y_title: str) -> Spec:
    """Share of runs still waiting against epoch, a step line a value, named at its end where there is room."""
    x, y = _epochs(n_epochs, first=0), _position("share", y_title, (0, 1), digits=".1f")
    names = list(slots)
    dashes = {"domain": names, "range": [list(dash) for _, dash in slots.values()]}
    direct = len(slots) <= MOST_DIRECT
    legend = None if direct else {"title": None, "orient": "right"}
    colour = {"field": "line", "type": "nominal", "legend": legend,
              "scale": {"domain": names, "range": [colour for colour, _ in slots.values()]}}  # fmt: skip
    dash = {"field": "line", "type": "nominal", "scale": dashes, "legend": legend}
    lit = {"opacity": {"condition": {"param": "lit", "value": 1}, "value": 0.15}}
    line = {"type": "line", "interpolate": "step-after", "strokeWidth": style.LINE_WIDTH + 0.4}
    area = {"type": "area", "interpolate": "step-after", "opacity": 1, "fillOpacity": style.BAND_OPACITY}
    band = {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": colour}
    told = [{"field": "line", "title": "nearest"}, {"field": "epoch"}]
    told += [{"field": f"t{n}", "title": name} for n, name in enumerate(names[:MOST_DIRECT])]
    at_epochs = _told_at_epochs(points, names[:MOST_DIRECT], "share")
    lookup = {"data": {"values": at_epochs}, "key": "epoch", "fields": [item["field"] for item in told[2:]]}
    layers = [
        {"transform": [{"filter": "datum.share < 1"}], "mark": area, "encoding": {**band, **lit}},
        {"mark": line, "encoding": {"x": x, "y": y, "color": colour, "strokeDash": dash, **lit}},
        {"name": "hover", "mark": {"type": "circle", "size": 60},
         "transform": [{"lookup": "epoch", "from": lookup}],
         "params": [{"name": "lit", "select": {"type": "point", "fields": ["line"], **NEAREST}},
                    {"name": "spot", "select": {"type": "point", "fields": ["line", "epoch"], **NEAREST}}],
         "encoding": {"x": x, "y": y, "color": colour, "tooltip": told,
                      "opacity": {"condition": {"param": "spot", "value": 1, "empty": False}, "value": 0}}},
    ]  # fmt: skip
    aside = 0
    if direct:
        last = {point["line"]: (point["epoch"], point["share"]) for point in points}  # points are in order of epochs
        layers += _names_at_ends(last, {name: ink for name, (ink, _) in slots.items()}, x, y, (0, 1), 0.05, lit)
        aside = 24 + 7 * max(map(len, slots), default=0)
    return {"data": {"values": points}, "layer": layers, "usermeta": {"aside": 52 + aside}}


def strips_panel(
    rows: Sequence[Row], x_title: str, ends: Ends, *, level: float | None = None, told: str = "", log: bool = False
) -> Spec:
    """Single runs as dots, a row a value, with their mean and its interval; the numbers stand in a column beside.

    Args:
        rows: from the top.
        x_title: with its unit.
        ends: of the axis; runs beyond them are left out.
        level: where a dashed line is.
        told: what stands above that line.
        log: whether the axis is logarithmic.
    """
    names = [row.name for row in rows]
    drawn = {row.name: _order_statistics(row.values) for row in rows}
    dots = [
        {"row": name, "value": _rounded(value), "place": _halton(number)}
        for name, values in drawn.items()
        for number, value in enumerate(values.tolist())
        if ends[0] <= value <= ends[1]
    ]
    with_mean = [row for row in rows if math.isfinite(row.mean)]
    texts = interval_texts([(row.mean, row.lower, row.upper) for row in with_mean])
    means = [
        {"row": row.name, "mean": _rounded(row.mean), "lower": _rounded(row.lower), "upper": _rounded(row.upper),
         "text": text, "texts": [text, row.note] if row.note else text}
        for row, text in zip(with_mean, texts, strict=True)
    ]  # fmt: skip
    x = _position("value", x_title, ends, log=log)
    y = {"field": "row", "type": "nominal", "title": None, "scale": {"domain": names, "padding": 0},
         "axis": {"domain": False, "ticks": False, "labelLimit": 110, "offset": 2}}  # fmt: skip
    place = {"scale": {"domain": [0, 1], "range": [6, ROW_HEIGHT - 6]}, "type": "quantitative"}
    slots = {"domain": names, "range": [row.slot[0] for row in rows]}
    colour = {"field": "row", "type": "nominal", "scale": slots, "legend": None}
    centre = {"datum": 0.5, **place}
    one = [{"field": "row", "title": "value"}, {"type": "quantitative", "field": "value", "title": "one run", "format": ".4~g"}]
    whole = [{"field": "row", "title": "value"}, {"field": "text", "title": "mean and its interval"}]
    bar = {"x": {**x, "field": "lower"}, "x2": {"field": "upper"}, "y": y, "yOffset": centre}
    column = {"type": "text", "align": "left", "dx": 8, "fontSize": 11}
    heading = "geometric mean [95 % interval]" if log else "mean [95 % interval]"
    layers: list[Spec] = []
    if level is not None:
        right = _share_of(level, ends, log) > 0.5
        text = {"type": "text", "align": "right" if right else "left", "fontSize": 10.5, "color": style.SOFT}
        layers.append(_rule("x", level))
        layers.append({"data": {"values": [{"level": level, "text": told}]}, "mark": text,
                       "encoding": {"x": {**x, "field": "level"}, "y": {"value": -7},
                                    "text": {"field": "text"}}})  # fmt: skip
    layers += [
        {"data": {"values": dots},
         "mark": {"type": "circle", "size": 11, "opacity": 1, "fillOpacity": style.DOT_OPACITY, "aria": False},
         "encoding": {"x": x, "y": y, "yOffset": {"field": "place", **place}, "color": colour, "tooltip": one}},
        {"data": {"values": means}, "mark": {"type": "rule", "strokeWidth": 2.5, "color": style.INK}, "encoding": bar},
        {"data": {"values": means}, "mark": {"type": "circle", "size": 50, "opacity": 1, "color": style.INK},
         "encoding": {"x": {**x, "field": "mean"}, "y": y, "yOffset": centre, "tooltip": whole}},
        {"data": {"values": means}, "mark": {**column, "dy": -6 if any(row.note for row in rows) else 0},
         "encoding": {"x": {"value": "width"}, "y": y, "yOffset": centre, "text": {"field": "texts"}}},
        {"data": {"values": [{"text": heading}]}, "mark": {**column, "fontSize": 10.5, "color": style.SOFT},
         "encoding": {"x": {"value": "width"}, "y": {"value": -7}, "text": {"field": "text"}}},
    ]  # fmt: skip
    aside = 6 * max(map(len, [*texts, heading, *(row.note for row in rows)])) + 8 + min(110, 7 * max(map(len, names)))
    return {"height": ROW_HEIGHT * max(1, len(rows)), "layer": layers, "usermeta": {"aside": 14 + aside}}


def strip_ends(values: Iterable[float], rows: Sequence[Row], *, log: bool = False) -> tuple[Ends, int]:
    """Ends of the axis of strips, and how many runs lie beyond them.

    A logarithmic axis ends three interquartile ranges beyond the quartiles of a row: one run that stands still
    would take half of it. `values` are those that the axis must reach.
    """
    held = [row.values[np.isfinite(row.values) & (row.values > (0 if log else -math.inf))] for row in rows]
    fences = [value for row in held if len(row) for value in (_fences(row) if log else (row.min(), row.max()))]
    low, high = min(fences, default=-math.inf), max(fences, default=math.inf)
    kept = [row[(row >= low) & (row <= high)] for row in held]
    shown = [*values, *(value for row in rows for value in (row.lower, row.upper))]
    shown += [value for row in kept if len(row) for value in (row.min(), row.max())]
    ends = _ends(shown, log)
    return ends, sum(int(((row < ends[0]) | (row > ends[1])).sum()) for row in held)


def interval_text(mean: float, lower: float, upper: float) -> str:
    """As many digits as the interval bears: `0.742 [0.731, 0.752]`; three where it is a point."""
    return interval_texts([(mean, lower, upper)])[0]


def interval_texts(estimates: Sequence[tuple[float, float, float]]) -> list[str]:
    """The same of a column: all with the decimals of the widest interval."""
    halves = [(upper - lower) / 2 for _, lower, upper in estimates if math.isfinite(upper - lower) and upper > lower]
    decimals = min((min(5, max(0, math.ceil(0.3 - math.log10(half)))) for half in halves), default=3)

    def text(value: float) -> str:
        return (f"{value:.3g}" if abs(value) >= 1e5 else f"{value:.{decimals}f}").replace("-", "\N{MINUS SIGN}")

    return [f"{text(mean)} [{text(lower)}, {text(upper)}]" for mean, lower, upper in estimates]


def still(spec: Any) -> Any:
    """The chart without what answers a pointer."""
    if isinstance(spec, list):
        return [still(item) for item in spec if not (isinstance(item, dict) and str(item.get("name", "")).startswith("hover"))]
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


def _names_at_ends(
    last: Mapping[str, tuple[int, float]], inks: Mapping[str, str], x: Spec, y: Spec, ends: Ends, gap: float,
    lit: Spec | None = None,
) -> list[Spec]:  # fmt: skip
    """Names of lines right of their ends (epoch, height), a gap apart as a share of the axis, with a thin line to each."""
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


def _told_at_epochs(points: Sequence[Spec], names: Sequence[str], field: str) -> list[Spec]:
    """One row an epoch with the text of each line: what a pointer is told there."""
    numbers = {name: f"t{number}" for number, name in enumerate(names)}
    rows: dict[int, Spec] = {}
    for point in points:
        if point["line"] in numbers:
            text = f"{point[field]:.3f}" + (f" [{point['low']:.3f}, {point['high']:.3f}]" if "low" in point else "")
            rows.setdefault(point["epoch"], {"epoch": point["epoch"]})[numbers[point["line"]]] = text
    return list(rows.values())


def _rule(channel: str, level: float) -> Spec:
    mark = {"type": "rule", "strokeDash": [4, 4], "strokeWidth": 1.4, "color": style.SOFT}
    encoding = {channel: {"field": "level", "type": "quantitative"}}
    return {"data": {"values": [{"level": level}]}, "mark": mark, "encoding": encoding}


def _position(field: str, title: str | None, ends: Ends, *, digits: str | None = None, log: bool = False) -> Spec:
    scale = {"type": "log" if log else "linear", "domain": list(ends), "nice": False} | ({} if log else {"zero": False})
    axis: Spec = {"tickCount": 5, "labelOverlap": True} | ({"format": digits} if digits else {})
    if log and 0 < ends[0] < ends[1] < 100 * ends[0]:  # powers of ten alone would be one or two
        steps, axis["format"] = ((1, 1.5, 2, 3, 4, 5, 7) if ends[1] < 20 * ends[0] else (1, 2, 5)), "~g"
        ticks = [float(f"{m}e{k}") for k in range(math.floor(math.log10(ends[0])), 9) for m in steps]
        axis["values"] = [tick for tick in ticks if ends[0] <= tick <= ends[1]]
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _epochs(n_epochs: int, first: int = 1) -> Spec:
    """The first epoch and about five round ones."""
    magnitude = 10 ** max(0, len(str(n_epochs)) - 2)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100) if n_epochs <= 5 * step * magnitude) * magnitude
    axis = {"grid": False, "format": "d", "values": sorted({first, *range(step, n_epochs + 1, step)})}
    return {**_position("epoch", "epoch", (first, max(n_epochs, first + 1))), "axis": axis}


def _ends(values: Iterable[float], log: bool) -> Ends:
    """Least and greatest value and a little air."""
    some = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    low, high = min(some, default=1.0), max(some, default=2.0)
    if log:
        return low / 1.15, high * 1.15
    air = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
    return low - air, high + air


def _fences(values: Array) -> tuple[float, float]:
    first, third = np.quantile(np.log(values), [0.25, 0.75])
    reach = 3 * (third - first)
    return float(np.exp(first - reach)), float(np.exp(third + reach))


def _share_of(value: float, ends: Ends, log: bool) -> float:
    """Where a value is between the ends, 0 to 1."""
    value, low, high = (math.log(item) if log else item for item in (value, *ends))
    return (value - low) / (high - low)


def _order_statistics(values: Array) -> Array:
    ordered = np.sort(values[np.isfinite(values)])
    return np.asarray(ordered[style.evenly_spaced(len(ordered), MAX_DOTS)])


def _halton(number: int) -> float:
    """Places 1/2, 1/4, 3/4, 1/8, ...: neighbours stand apart, and the same in every report."""
    place, step, number = 0.0, 0.5, number + 1
    while number:
        number, bit = divmod(number, 2)
        place, step = place + bit * step, step / 2
    return round(place, 4)


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
