"""The reader of the table: the shipped one, and rows E1 to E6 of the faults it must refuse."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pima_hp.data import strict_csv, table
from pima_hp.data.table import SHIPPED_FEATURES, SHIPPED_SHA256
from pima_hp.errors import TableError
from tests.data.conftest import (
    BAD_CELLS,
    MOMENTS,
    SHIPPED_TEXT,
    SMALL,
    SMALL_ROWS,
    reordered,
    same,
    shipped,
    with_cell,
)

# The shipped table


@pytest.mark.parametrize("row", MOMENTS.split("\n")[1:-1], ids=str.strip)
def test_shipped_moments(row):
    name, mean, deviation, zeros = row.split()
    found = shipped()
    column = found.labels.astype(float) if name == "outcome" else found.features[:, SHIPPED_FEATURES.index(name)]
    assert column.mean() == pytest.approx(float(mean), abs=5e-7)
    assert column.std(ddof=1) == pytest.approx(float(deviation), abs=5e-7)
    assert (column == 0).sum() == int(zeros)


def test_shipped_shapes():
    found = shipped()
    assert found.features.shape == (768, 8)
    assert found.features.dtype == np.float64
    assert found.features.flags.c_contiguous
    assert found.labels.shape == (768,)
    assert found.labels.dtype == np.int8
    assert found.feature_names == SHIPPED_FEATURES
    assert found.labels.sum() == 268
    assert found.digest == SHIPPED_SHA256
    assert found.notes == ()


def test_damaged_installation(tmp_path, monkeypatch):
    damaged = tmp_path / "pima-indians-diabetes.csv"
    damaged.write_text(SHIPPED_TEXT.replace("148", "149", 1))
    monkeypatch.setattr(table, "SHIPPED", damaged)
    with pytest.raises(TableError, match=r"^the shipped table: must have SHA-256 c62f.*install pima_hp again$"):
        shipped()


def test_tables_are_the_callers_own():
    first = shipped()
    first.features[:] = 0
    first.labels[:] = 0
    assert shipped().features.any()
    assert shipped().labels.any()


def test_equal_bytes_are_parsed_once(read, monkeypatch):
    read(SMALL)
    monkeypatch.setattr(table, "_parse", lambda *_: pytest.fail("parsed again"))
    read(SMALL)
    with pytest.raises(pytest.fail.Exception):
        read(SMALL + "4,4,1\n")


def test_imports_neither_torch_nor_pandas():
    code = "import sys, pima_hp.data.table; print([m for m in ('torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"


def test_speed(read):
    table._cache.clear()
    start = time.perf_counter()
    shipped()
    assert time.perf_counter() - start < 0.1  # 4 ms alone on a machine
    header, *rows = SHIPPED_TEXT.splitlines()
    start = time.perf_counter()
    read("\n".join([header, *(rows * 131)[:100_000]]), label="outcome")
    assert time.perf_counter() - start < 4  # 0.4 s alone


# E1: columns


@pytest.mark.parametrize("features", [None, list(SHIPPED_FEATURES)])
@pytest.mark.parametrize("order", [[8, 7, 6, 5, 4, 3, 2, 1, 0], [3, 8, 0, 1, 7, 2, 6, 4, 5]])
def test_e1_reordered(read, order, features):
    assert same(read(reordered(order), label="outcome", features=features), shipped())


@pytest.mark.parametrize("features", [None, list(SHIPPED_FEATURES)])
@pytest.mark.parametrize("column", range(9))
def test_e1_missing_and_renamed(refused, column, features):
    name = [*SHIPPED_FEATURES, "outcome"][column]
    asked = {"label": "outcome", "features": features, "zeros": ["glucose", "bmi"]}
    (problem,) = refused(reordered([index for index in range(9) if index != column]), **asked)
    assert f"no '{name}'" in problem
    (problem,) = refused(SHIPPED_TEXT.replace(name, name.upper(), 1), **asked)
    assert f"no '{name}'; nearest: '{name.upper()}'" in problem


def test_e1_extra_columns(read):
    rows = SHIPPED_TEXT.splitlines()
    wider = "".join(f"{'height' if n == 0 else 150 + n % 40},{row}\n" for n, row in enumerate(rows))
    more = read(wider, label="outcome")
    assert more.feature_names == (*SHIPPED_FEATURES, "height")
    assert np.array_equal(more.features[:, :8], shipped().features)
    assert same(read(wider, label="outcome", features=list(SHIPPED_FEATURES)), shipped())


def test_e1_ignored_columns_may_hold_anything(read):
    text = SMALL.replace("\n", ",t\n", 1).replace("0\n", '0,"Ünï, ""x""\n"\n').replace("1\n", "1,NA\n")
    assert same(read(text, features=["a", "b"]), read(SMALL))


def test_features_keep_their_order(read):
    clean, turned = read(SMALL), read(SMALL, features=["b", "a"])
    assert turned.feature_names == ("b", "a")
    assert np.array_equal(turned.features, clean.features[:, ::-1])


def test_a_table_of_ones_own_may_share_a_name_with_the_shipped_one(read):
    assert read(SMALL.replace("a,", "age,", 1)).feature_names == ("age", "b")


@pytest.mark.parametrize("features", [[], ["a", "a"], ["a", "y"]])
def test_features_are_different_columns_without_the_label(refused, features):
    (problem,) = refused(SMALL, features=features)
    assert problem == f"data.features must be different columns, none the label; found {str(features)!r}"


def test_zero_is_missing_names_columns_also_those_that_are_no_features(refused):
    assert refused(SMALL, zeros=["glucose", "b", "B"], features=["a"]) == [
        "data.zero_is_missing must be columns other than the label; no 'glucose'; found 'a', 'b'",
        "data.zero_is_missing must be columns other than the label; no 'B'; nearest: 'b'",
    ]
    assert "nearest: 'b'" in refused(SMALL, zeros=["B"])[0]
    assert "no 'y'" in refused(SMALL, zeros=["y"])[0]


def test_a_table_needs_a_feature(refused):
    assert "besides the label" in refused("y\n" + "0\n1\n" * 6)[0]


# E2, E3: cells that are no numbers


@pytest.mark.parametrize("text", [*BAD_CELLS, "", " ", "1 ", " 1", "\t1", "1\x0b", "\u00a01", "1 000", '"1\n2"'])
@pytest.mark.parametrize("column", [0, 1])
def test_e2_e3_cells(refused, text, column):
    (problem,) = refused(with_cell(5, column, text))
    name, value = "ab"[column], strict_csv.shown(text.strip('"'))
    assert problem.startswith(f"column '{name}' must be a plain decimal number")
    assert problem.endswith(f"; found {value} on line 5")


def test_e2_three_lines_and_a_count(refused):
    lines = [line.replace(",", ";;", 1).replace(";;", "x,", 1) for line in SMALL.splitlines()]
    problems = refused("a,b,y\n" + "\n".join(lines[1:]))
    assert len(problems) == 1
    assert problems[0].endswith("found '0x' on line 2, '7x' on line 3, '3x' on line 4 (10 in all)")


def test_all_problems_at_once(refused):
    lines = SMALL.splitlines()
    lines[2], lines[4], lines[6], lines[8] = "NA,1,1", "1,2,1,5", lines[0], "1,?,maybe"
    problems = refused("\n".join(lines))
    assert [re.split(" must|;", problem)[0] for problem in problems] == [
        "column 'y'",
        "every row",
        "the header",
        "column 'a'",
        "column 'b'",
    ]


def test_a_handful_of_problems(refused):
    names = [f"c{n}" for n in range(30)]
    rows = [["?"] * 30 + [str(n % 2)] for n in range(10)]
    problems = refused("\n".join(",".join(row) for row in [[*names, "y"], *rows]))
    assert len(problems) == 9
    assert problems[-1] == "and 22 more problems like these"


@pytest.mark.parametrize("text", ["5", "+5", "5.", "05", "5.0", "5e0", "0.5E+1", "50e-01", '"5"'])
def test_numbers_may_be_written_in_many_ways(read, text):
    assert read(with_cell(4, 0, text)).features[2, 0] == 5.0


def test_whole_numbers_are_exact_up_to_the_limit(read, refused):
    assert read(with_cell(4, 0, "1000000000000000")).features[2, 0] == 10**15
    assert "1e+15" in refused(with_cell(4, 0, "1000000000000001"))[0]


def test_values_are_escaped_and_cut(refused):
    (problem,) = refused(with_cell(3, 0, "\x1b[31m\u202e\x07" + "z" * 500))
    assert r"\x1b[31m\u202e\x07" in problem
    assert "\x1b" not in problem
    assert len(problem) < 250


def test_long_digits_are_refused_at_once(refused):
    start = time.perf_counter()
    refused(with_cell(3, 0, "1" * 130_000 + "x"))
    assert time.perf_counter() - start < 2


# E4, E5: rows and labels


@pytest.mark.parametrize("content", ["", "\n", " \r\n\n", "\ufeff", "\ufeff\n"])
def test_e4_empty(refused, content):
    assert "empty" in refused(content)[0]


@pytest.mark.parametrize("rows", [0, 1, 9])
@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_e4_too_few_rows(refused, rows, end):
    content = "\n".join(SMALL.splitlines()[: rows + 1]) + end
    assert refused(content) == [f"must have at least 10 rows below the header; found {rows}"]


@pytest.mark.parametrize(
    ("zero", "one", "found"),
    [
        ("0", "0", "'0' on line 2"),
        ("1", "1", "'1' on line 2"),
        ("1", "2", "'1' on line 2, '2' on line 3"),
        ("-1", "1", "'-1' on line 2, '1' on line 3"),
        ("B", "M", "'B' on line 2, 'M' on line 3"),
        ("0 ", "1", "'0 ' on line 2, '1' on line 3"),
        ("", "1", "'' on line 2, '1' on line 3"),
        ("0.5", "1", "'0.5' on line 2, '1' on line 3"),
        ("False", "True", "'False' on line 2, 'True' on line 3"),
    ],
)
def test_e5_labels(refused, zero, one, found):
    rows = [",".join([*row[:2], one if row[2] == "1" else zero]) for row in SMALL_ROWS]
    (problem,) = refused("a,b,y\n" + "\n".join(rows))
    assert problem.startswith("column 'y' must hold the labels 0 and 1")
    assert problem.endswith(f"; found {found}")


def test_e5_three_classes(refused):
    assert refused(with_cell(7, 2, "2"))[0].endswith("found '0' on line 2, '1' on line 3, '2' on line 7")


def test_e5_many_classes_are_cut(refused):
    rows = [[str(n % 7), "1", str(n)] for n in range(200)]
    (problem,) = refused("a,b,y\n" + "\n".join(map(",".join, rows)))
    assert problem.count("on line") == 8


def test_labels_may_be_written_as_decimals(read):
    rows = ["a,b,y", *(",".join([*row[:2], row[2] + ".0"]) for row in SMALL_ROWS)]
    assert same(read("\n".join(rows)), read(SMALL))


# E6: headers


def test_e6_headers(refused):
    assert refused(SMALL.replace("a,b", "a,a", 1)) == ["the header must not repeat a name; found 'a' more than once"]
    body = SMALL.split("\n", 1)[1]
    assert refused(body) == ["the first line must be a header; found only numbers: '0,-1.0,0'"]
    assert refused(SMALL + SMALL) == ["the header must stand on the first line only; found it on line 12"]
    assert "empty first line" in refused("\n" + SMALL)[0]


@pytest.mark.parametrize("name", ["", " b", "b\t", "b\x1b[0m", '"b\nc"', "b\u202e"])
def test_e6_names(refused, name):
    (problem,) = refused(SMALL.replace("b", name, 1))
    assert problem.startswith("column names must be printable, without spaces around them; found '")
    assert problem.endswith("as column 2")
