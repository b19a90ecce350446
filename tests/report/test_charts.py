"""Charts that take numbers: what is drawn is what was given."""

import numpy as np
import pandas as pd
import pytest

from pima_hp.report.charts import Figure, bars, lines, looks_of
from pima_hp.report.heat import contours, heat
from tests.report.conftest import drawn, texts


def test_bars_show_their_numbers_and_name_the_bars_of_a_row():
    table = pd.DataFrame({"name": ["batch size", "optimizer"], "line": "all", "value": [0.41, 0.05],
                          "low": [0.35, np.nan], "high": [0.45, np.nan]})  # fmt: skip
    (panel,) = Figure("", "", [bars(table, "share of variance")]).panels
    assert 'fill="currentColor">0.41 [' in panel, "in the text color of the page, which may be dark"
    found = texts(panel)
    assert {"batch size", "optimizer", "0.41 [0.35, 0.45]", "0.05", "share of variance"} <= set(found)
    two = pd.concat([table, table.assign(line="learning", value=0.2)])
    found = texts(Figure("", "", [bars(two, "share")]).panels[0])
    assert {"all 0.41 [0.35, 0.45]", "learning 0.20 [0.35, 0.45]", "all 0.05", "learning 0.20"} <= set(found)


def test_a_logarithmic_axis_puts_decades_at_equal_distances():
    points = pd.DataFrame({"line": "adam", "x": [0.001, 0.01, 0.1], "mean": 0.7, "low": 0.6, "high": 0.8})
    axes = {"learning rate": (0.001, 0.1), "accuracy": (0.5, 1.0)}
    (panel,) = Figure("", "", [lines(points, looks_of(["adam"]), axes, size=(200, 100))]).panels
    assert "M0,60L100,60L200,60" in panel
    assert {"learning rate 0.01", "adam"} <= set(texts(panel))


def test_the_contours_of_a_plane_are_its_level_lines():
    rows, columns = np.indices((5, 6))
    plane = columns / 5 + rows
    found = contours(plane)
    assert sorted(map(float, set(found["level"]))) == pytest.approx(np.arange(1, 10) / 2)
    for one, other in (("x", "y"), ("x2", "y2")):
        np.testing.assert_allclose(found[one] / 5 + found[other], found["level"].astype(float), atol=1e-12)
    assert contours(np.ones((5, 6))).empty
    plane[2, 2] = np.nan
    assert not ((contours(plane)[["x", "y"]] - [2, 2]).abs() < [0.05, 0.02]).all(axis=1).any()


def test_a_heat_map_has_a_cell_for_each_value_and_a_ring_at_the_highest():
    rates = np.logspace(-4, 0, 9)
    table = pd.DataFrame(
        [(rate, size, rate * size) for rate in rates for size in (5, 10, 20, 40)], columns=["x", "y", "value"]
    )
    table.loc[0, "value"] = np.nan
    chart = heat(table.pivot_table("value", "y", "x"), ("learning rate", "batch size"))
    cells = drawn(chart)
    assert len(cells) == 35
    assert ((cells["x_low"] < cells["x"]) & (cells["x"] < cells["x_high"])).all()
    np.testing.assert_allclose(cells["x_high"] / cells["x_low"], np.sqrt(10), rtol=1e-6)
    assert drawn(chart, 2)[["x", "y"]].iloc[0].tolist() == pytest.approx([1, 40])
    assert {"learning rate", "batch size"} <= set(texts(Figure("", "", [chart]).panels[0]))
