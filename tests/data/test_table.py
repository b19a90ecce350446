"""The reader of the table: the shipped one, and rows E1 to E6 and E15 of the faults: refused, or read right."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pima_hp.data.table import SHIPPED_FEATURES, SHIPPED_SHA256
from tests.data.conftest import (
    BAD_CELLS,
    SHIPPED_TEXT,
    SMALL,
    SMALL_ROWS,
    reordered,
    same,
    shipped,
    with_cell,
)

MOMENTS = """
    pregnancies        3.845052   3.369578   111
    glucose            120.894531 31.972618  5
    blood_pressure     69.105469  19.355807  35
    skin_thickness     20.536458  15.952218  227
    insulin            79.799479  115.244002 374
    bmi                31.992578  7.884160   11
    diabetes_pedigree  0.471876   0.331329   0
    age                33.240885  11.760232  0
    outcome            0.348958   0.476951   500
"""


@pytest.mark.parametrize("row", MOMENTS.split("\n")[1:-1], ids=str.strip)
def test_the_shipped_table_has_its_published_moments(row):
    name, mean, deviation, zeros = row.split()
    found = shipped()
    column = found.labels.astype(float) if name == "outcome" else found.features[:, SHIPPED_FEATURES.index(name)]
    assert column.mean() == pytest.approx(float(mean), abs=5e-7)
    assert column.std(ddof=1) == pytest.approx(float(deviation), abs=5e-7)
    assert (column == 0).sum() == int(zeros)


def test_the_shipped_table_is_what_the_package_says():
    found = shipped()
    assert (found.features.shape, found.features.dtype, found.labels.dtype) == ((768, 8), np.float64, np.int8)
    assert (found.feature_names, found.digest, found.notes) == (SHIPPED_FEATURES, SHIPPED_SHA256, ())
    assert found.labels.sum() == 268


def test_equal_bytes_are_parsed_once_and_cannot_be_written_to(read):
    first = read(SMALL)
    assert read(SMALL) is first
    assert read(SMALL, features=["b"]) is not first
    for array in (first.features, first.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_the_reader_imports_neither_torch_nor_pandas():
    code = "import sys, pima_hp.data.table; print([m for m in ('torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"


# E1: columns


@pytest.mark.parametrize("features", [None, list(SHIPPED_FEATURES)])
@pytest.mark.parametrize("order", [[8, 7, 6, 5, 4, 3, 2, 1, 0], [3, 8, 0, 1, 7, 2, 6, 4, 5]])
def test_e1_the_order_of_the_columns_does_not_matter(read, order, features):
    assert same(read(reordered(order), label="outcome", features=features), shipped())


@pytest.mark.parametrize("features", [None, list(SHIPPED_FEATURES)])
@pytest.mark.parametrize("column", range(9))
def test_e1_a_column_that_is_missing_or_renamed_is_named(refused, column, features):
    name = [*SHIPPED_FEATURES, "outcome"][column]
    asked = {"label": "outcome", "features": features, "zeros": ["glucose", "bmi"]}
    assert repr(name) in refused(reordered([index for index in range(9) if index != column]), **asked)
    assert repr(name) in refused(SHIPPED_TEXT.replace(name, f"{name}_x", 1), **asked)


def test_e1_an_extra_column_is_a_feature_unless_features_are_named(read):
    rows = SHIPPED_TEXT.splitlines()
    wider = "".join(f"{'height' if n == 0 else 150 + n % 40},{row}\n" for n, row in enumerate(rows))
    more = read(wider, label="outcome")
    assert more.feature_names == (*SHIPPED_FEATURES, "height")
    assert np.array_equal(more.features[:, :8], shipped().features)
    assert same(read(wider, label="outcome", features=list(SHIPPED_FEATURES)), shipped())


def test_e1_columns_that_are_not_read_may_hold_anything(read):
    text = SMALL.replace("\n", ",t\n", 1).replace("0\n", '0,"Ünï, ""x""\n"\n').replace("1\n", "1,NA\n")
    assert same(read(text, features=["a", "b"]), read(SMALL))


def test_features_keep_the_order_in_which_they_are_named(read):
    turned = read(SMALL, features=["b", "a"])
    assert turned.feature_names == ("b", "a")
    assert np.array_equal(turned.features, read(SMALL).features[:, ::-1])


def test_another_table_may_share_a_name_with_the_shipped_one(read):
    assert read(SMALL.replace("a,", "age,", 1)).feature_names == ("age", "b")


@pytest.mark.parametrize(
    "settings",
    [
        {"features": []},
        {"features": ["a", "a"]},
        {"features": ["a", "y"]},
        {"zeros": ["glucose"]},
        {"zeros": ["y"]},
        {"zeros": ["B"], "features": ["a"]},
    ],
)
def test_features_are_different_columns_other_than_the_label(refused, settings):
    assert "must" in refused(SMALL, **settings)


def test_a_table_needs_a_feature(refused):
    refused("y\n" + "0\n1\n" * 6)


# E2, E3: cells that are no numbers


@pytest.mark.parametrize("text", [*BAD_CELLS, "", " ", "1\x0b", "\u00a01", "1 000", '"1\n2"', "1" * 130_000 + "x"])
@pytest.mark.parametrize("column", [0, 1, 2])
@pytest.mark.timeout(2)
def test_e2_e3_a_cell_that_is_no_finite_number_is_refused(refused, text, column):
    refused(with_cell(5, column, text))


@pytest.mark.parametrize("text", ["x", "nan", "1e16"])
def test_e2_the_first_bad_place_is_named(refused, text):
    problem = refused(with_cell(5, 1, text))
    assert "column 'b'" in problem or "column #2" in problem
    assert "row 4" in problem or "Row #5" in problem, "rows are counted without the header by us, with it by pyarrow"


@pytest.mark.parametrize("text", ["5", "+5", "5.", "05", "5.0", "5e0", "0.5E+1", "50e-01", '"5"', " 5", "5\t"])
def test_numbers_may_be_written_in_many_ways(read, text):
    assert read(with_cell(4, 0, text)).features[2, 0] == 5.0


def test_whole_numbers_are_exact_up_to_the_limit(read, refused):
    assert read(with_cell(4, 0, "1000000000000000")).features[2, 0] == 10**15
    assert "1e+15" in refused(with_cell(4, 0, "1000000000000001"))


def test_what_was_found_is_shown_escaped_and_cut(refused):
    assert len(refused(with_cell(3, 0, "\x1b[31m\u202e\x07" + "z" * 500))) < 400


# E4, E5: rows and labels


@pytest.mark.parametrize("content", ["", "\n", " \r\n\n", "\ufeff", "\ufeff\n", "\n" + SMALL])
def test_e4_a_file_must_begin_with_a_header(refused, content):
    refused(content)


@pytest.mark.parametrize("rows", [0, 1, 9])
@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_e4_ten_rows_are_needed(read, refused, rows, end):
    refused("\n".join(SMALL.splitlines()[: rows + 1]) + end)
    assert len(read("\n".join(SMALL.splitlines()[:11]) + end).labels) == 10


@pytest.mark.parametrize(
    ("zero", "one"),
    [("0", "0"), ("1", "1"), ("1", "2"), ("-1", "1"), ("B", "M"), ("", "1"), ("0.5", "1"), ("False", "True")],
)
def test_e5_labels_other_than_zero_and_one_are_refused(refused, zero, one):
    rows = [",".join([*row[:2], one if row[2] == "1" else zero]) for row in SMALL_ROWS]
    refused("a,b,y\n" + "\n".join(rows))


def test_e5_three_classes_are_refused(refused):
    assert "[0.0, 1.0, 2.0]" in refused(with_cell(7, 2, "2"))


def test_labels_may_be_written_as_decimals(read):
    rows = ["a,b,y", *(",".join([*row[:2], row[2] + ".0"]) for row in SMALL_ROWS)]
    assert same(read("\n".join(rows)), read(SMALL))


# E6: headers


@pytest.mark.parametrize("name", ["a", "", " b", "b\t", "b\x1b[0m", '"b\nc"', "b\u202e", "b\0"])
def test_e6_names_are_different_and_printable(refused, name):
    refused(SMALL.replace("b", name, 1))


@pytest.mark.parametrize("content", [SMALL.split("\n", 1)[1], SMALL + SMALL], ids=["no header", "header again"])
def test_e6_there_is_one_header(refused, content):
    refused(content)


def test_e15_what_may_mislead_is_noted(read):
    assert read(SMALL).notes == ()
    rows = [f"{n + 100},{(3 * n) % 13},5,{n % 2}" for n in range(20)]
    assert [note.partition(":")[0] for note in read("patient,x,flat,y\n" + "\n".join(rows)).notes] == [
        "column 'patient' only rises, in whole numbers",
        "column 'flat' is 5 in every row",
    ]
    repeated = SMALL + "\n".join(SMALL.splitlines()[1:4]) + "\n-0,-1.0,0\n"
    assert read(repeated).notes == ("4 of 14 rows repeat an earlier row: both may be in train and test",)
