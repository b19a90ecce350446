"""The reader of the table: rows E1 to E16 of the faults it must refuse, or read as the clean file."""

import csv
import gzip
import io
import os
import re
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pima_hp.configuration import DataSection
from pima_hp.data import strict_csv, table
from pima_hp.data.table import SHIPPED, SHIPPED_FEATURES, SHIPPED_SHA256, Table, file_digest, read_table
from pima_hp.errors import TableError

SHIPPED_TEXT = SHIPPED.read_text(encoding="utf-8")
# Ten rows of two features; `a` is not sorted, so that there is nothing to note.
SMALL_ROWS = [[str((7 * row) % 11), f"{row / 4 - 1}", str(row % 2)] for row in range(10)]
SMALL = "a,b,y\n" + "".join(",".join(row) + "\n" for row in SMALL_ROWS)
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


def section(path: object = None, label: str = "y", features: object = None, zeros: object = ()) -> DataSection:
    return DataSection(
        path=None if path is None else str(path),
        label=label,
        features=features,
        zero_is_missing=list(zeros),
        missing="keep",
        scaling="none",
        test_fraction=0.2,
        val_fraction=0.0,
        stratified=False,
    )


@pytest.fixture
def read(tmp_path):
    """Write a file, read it as a table."""

    def read_content(content: str | bytes, **settings: object) -> Table:
        path = tmp_path / "table.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_table(section(path, **settings))

    return read_content


@pytest.fixture
def refused(read):
    """Read a file that must be refused; returns the problems, without the name of the file."""

    def problems(content: str | bytes, **settings: object) -> list[str]:
        with pytest.raises(TableError) as caught:
            read(content, **settings)
        assert caught.value.exit_code == 2
        found = []
        for line in caught.value.problems:
            assert line.isprintable(), repr(line)
            assert re.match(r"data\.path='.*?table\.csv': ", line), line
            found.append(line.split("table.csv': ", 1)[1])
        assert 1 <= len(found) <= 9
        return found

    return problems


def same(one: Table, other: Table) -> bool:
    """Whether two tables hold the same numbers under the same names."""
    return (
        one.feature_names == other.feature_names
        and np.array_equal(one.features, other.features)
        and np.array_equal(one.labels, other.labels)
    )


def with_cell(line: int, column: int, text: str) -> str:
    """SMALL with the cell of a line (from 1, the header) replaced as it stands."""
    lines = [row.split(",") for row in SMALL.splitlines()]
    lines[line - 1][column] = text
    return "".join(",".join(row) + "\n" for row in lines)


# The shipped table


def shipped() -> Table:
    return read_table(section(label="outcome", zeros=["glucose", "bmi"]))


@pytest.mark.parametrize("row", MOMENTS.split("\n")[1:-1], ids=str.strip)
def test_shipped_moments(row):
    name, mean, deviation, zeros = row.split()
    column = shipped().frame[name].to_numpy().astype(float)
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
    assert found.digest == file_digest(None) == file_digest(SHIPPED) == SHIPPED_SHA256
    assert found.notes == ()
    assert list(found.frame.columns) == [*SHIPPED_FEATURES, "outcome"]


def test_damaged_installation(tmp_path, monkeypatch):
    damaged = tmp_path / "pima-indians-diabetes.csv"
    damaged.write_text(SHIPPED_TEXT.replace("148", "149", 1))
    monkeypatch.setattr(table, "SHIPPED", damaged)
    for ask in (shipped, lambda: file_digest(None)):
        with pytest.raises(TableError, match=r"^the shipped table: must have SHA-256 c62f.*install pima_hp again$"):
            ask()


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


def reordered(order: list[int], text: str = SHIPPED_TEXT) -> str:
    rows = [line.split(",") for line in text.splitlines()]
    return "".join(",".join(row[index] for index in order) + "\n" for row in rows)


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


def test_zero_is_missing_names_features(refused):
    assert refused(SMALL, zeros=["glucose", "B"], features=["a"]) == [
        "data.zero_is_missing must be features; no 'glucose'; found 'a'",
        "data.zero_is_missing must be features; no 'B'; found 'a'",
    ]
    assert "nearest: 'b'" in refused(SMALL, zeros=["B"])[0]
    assert "no 'y'" in refused(SMALL, zeros=["y"])[0]


def test_a_table_needs_a_feature(refused):
    assert "besides the label" in refused("y\n" + "0\n1\n" * 6)[0]


# E2, E3: cells that are no numbers


NO_NUMBERS = """
    x "1,000" "1,5" 0x1F 1e999 -1e999 1e16 12345678901234567890123 1_000 \u0661 \uff11 1e 1e+ . + - e5
    1.2.3 1d5 1f nan NaN inf -inf Infinity NA N/A None null ? #N/A True $5 5% 1/2 2020-01-01 12:30 =1+1 @x
"""
BAD_CELLS = NO_NUMBERS.split()


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


# E7: one table, written in many ways


def quoted(text: str) -> str:
    return "".join(",".join(f'"{cell}"' for cell in line.split(",")) + "\n" for line in text.splitlines())


def mixed(text: str) -> str:
    ends = ["\n", "\r\n", "\r"]
    return "".join(line + ends[n % 3] for n, line in enumerate(text.splitlines()))


WRITINGS = {
    "bom": lambda text: "\ufeff" + text,
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "cr": lambda text: text.replace("\n", "\r"),
    "mixed": mixed,
    "no_final_newline": lambda text: text.rstrip("\n"),
    "blank_end": lambda text: text + "\n\r\n\n",
    "trailing_delimiter": lambda text: text.replace("\n", ",\n"),
    "quoted": quoted,
    "quoted_bom_crlf_delimiter": lambda text: "\ufeff" + quoted(text).replace("\n", ",\r\n"),
}


@pytest.mark.parametrize("way", WRITINGS)
@pytest.mark.parametrize("features", [None, list(SHIPPED_FEATURES)])
def test_e7_writings(read, way, features):
    found = read(WRITINGS[way](SHIPPED_TEXT), label="outcome", features=features)
    assert same(found, shipped())
    assert found.digest != SHIPPED_SHA256


@pytest.mark.parametrize("way", ["bom", "crlf", "cr", "mixed", "trailing_delimiter", "quoted"])
def test_e7_line_numbers_hold_in_each(refused, way):
    assert refused(WRITINGS[way](with_cell(5, 0, "x")))[0].endswith("found 'x' on line 5")


def test_e7_trailing_delimiter_in_part(refused):
    header, body = SMALL.split("\n", 1)
    assert "3 fields on line 2" in refused(f"{header},\n{body}")[0]
    assert "4 fields on line 2" in refused(header + "\n" + body.replace("\n", ",\n"))[0]
    closed = SMALL.replace("\n", ",\n")
    last = refused(closed.replace("0,\n", "0,9\n", 1))
    assert last == ["the last column has no name and must be empty; found '9' on line 2"]


def test_quotes_must_be_sound(refused):
    assert "line 4" in refused(with_cell(4, 0, '"1'))[0]
    assert "line 4" in refused(with_cell(4, 0, '"1"2'))[0]
    assert refused(with_cell(4, 0, '1"2"'))[0].endswith("""found '1"2"' on line 4""")


# E8, E9: separators and ragged rows


@pytest.mark.parametrize("separator", [";", "\t", "|", " "])
def test_e8_separators(refused, separator):
    assert refused(SMALL.replace(",", separator)) == [
        f"columns must be separated by ','; looks like {separator!r}",
    ]


@pytest.mark.parametrize(
    ("line", "fields"), [("1,2,1,5", 4), ("1,1", 2), ("1", 1), ("", 0), ("1,2,1,", 4), (",,,,", 5), ("  ", 1)]
)
def test_e9_ragged(refused, line, fields):
    lines = SMALL.splitlines()
    lines.insert(3, line)
    lines.insert(6, line)
    (problem,) = refused("\n".join(lines) + "\n")
    what = f"{fields} fields on line"
    assert problem == f"every row must have 3 fields, like the header; found {what} 4, {what} 7"


def test_e9_every_row_too_long(refused):
    """Pandas would take the first column as the index and shift the names."""
    header, body = SMALL.split("\n", 1)
    (problem,) = refused(header + "\n" + body.replace("\n", ",7\n"))
    assert problem.endswith("4 fields on line 2, 4 fields on line 3, 4 fields on line 4 (10 in all)")


def test_lines_are_counted_through_quoted_line_ends(refused):
    text = with_cell(3, 0, '"1\n2"').replace("7.0", "x")
    lines = text.replace("1.25", "?")
    found = refused(lines)
    assert found[0].endswith(r"found '1\n2' on line 3")
    assert found[1].endswith("found '?' on line 12")


# E10 to E14: what is not a text file here


def test_e10_encodings(refused):
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        assert "UTF-8" in refused(SMALL.encode(encoding))[0]
    found = refused(SMALL.replace("a", "grö\u00dfe", 1).encode("latin-1"))
    assert found == ["must be text in UTF-8; found byte 0xf6 on line 1 (binary, or another encoding)"]
    assert "byte 0xe9 on line 4" in refused(with_cell(4, 0, "é").encode("latin-1"))[0]


def test_e10_binary(refused):
    assert "NUL" in refused(SMALL.replace("7", "\0", 1))[0]
    assert "UTF-8" in refused(np.random.default_rng(0).bytes(100_000))[0]
    assert "UTF-8" in refused(Path(sys.executable).read_bytes()[:100_000])[0]


def problem_of(path: object) -> str:
    with pytest.raises(TableError) as caught:
        read_table(section(path))
    with pytest.raises(TableError) as digest_caught:
        file_digest(str(path))
    assert digest_caught.value.problems == caught.value.problems
    (problem,) = caught.value.problems
    assert problem.startswith("data.path=")
    assert problem.isprintable()
    return problem


@pytest.mark.timeout(10)
def test_e10_not_a_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    assert problem_of(tmp_path).endswith("must be a regular file; found a directory")
    assert problem_of("").endswith("must be a regular file; found a directory")
    for path in (tmp_path / "fifo", tmp_path / "link", tmp_path / "socket", "/dev/zero", "/dev/null"):
        assert problem_of(path).endswith("must be a regular file; found a FIFO, socket or device")


def test_missing_file(tmp_path):
    assert problem_of(tmp_path / "none.csv").endswith("cannot be read: No such file or directory")
    assert problem_of("~/none.csv").endswith("'~' is not expanded, write the whole path")
    assert "cannot be read" in problem_of("x" * 5000)
    assert "cannot be read" in problem_of("\ud800.csv")
    assert "cannot be read" in problem_of(tmp_path / "none.csv" / "below")
    assert "NUL" in problem_of("table\0.csv")
    assert r"\x1b" in problem_of("\x1b[31mred.csv")


def test_unreadable_file(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_text(SMALL)

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert problem_of(path).endswith("cannot be read: Permission denied")


def test_e11_limits(refused, monkeypatch, tmp_path):
    big = tmp_path / "big.csv"
    with big.open("wb") as file:
        file.truncate(2**40)  # a hole of 1 TiB: read up to the limit only
    assert problem_of(big).endswith("must have at most 67108864 bytes; found more")
    assert "10000 columns" in refused(",".join(f"c{n}" for n in range(10_001)) + "\n")[0]
    assert "1048576 characters" in refused("x" * 2_000_000)[0]
    assert "field limit" in refused(with_cell(3, 0, "x" * 200_000))[0]
    monkeypatch.setattr(strict_csv, "MAX_ROWS", 12)
    assert "at most 12 rows" in refused(SMALL + SMALL)[0]


def test_e12_compressed(refused):
    assert "looks like gzip" in refused(gzip.compress(SMALL.encode()))[0]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../table.csv", SMALL)
    assert "looks like zip" in refused(buffer.getvalue())[0]
    assert "looks like zstd" in refused(b"\x28\xb5\x2f\xfd" + b"\x20" * 40)[0]


def test_a_column_may_be_called_pk(read):
    assert read("PK" + SMALL[1:]).feature_names == ("PK", "b")


def test_e13_remote(monkeypatch):
    def no_network(*_: object, **__: object) -> None:
        pytest.fail("a connection was tried")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, no_network)
    for url in (
        "http://127.0.0.1/x.csv",
        "HTTPS://example.org/x.csv",
        "s3://bucket/x.csv",
        "file:///etc/passwd",
        "file:/etc/passwd",
        f"file://{SHIPPED}",
        r"\\host\share\x.csv",
        "//host/share/x.csv",
    ):
        assert problem_of(url).endswith("must be a file on this machine; found a URL or a network path")


def test_e13_traversal(tmp_path, monkeypatch):
    """A path leads to a file and nowhere else; what is not a table is refused without being shown."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text(SMALL)
    assert read_table(section(f"../{tmp_path.name}/table.csv")).labels.sum() == 5
    with pytest.raises(TableError):
        read_table(section("../" * 30 + "etc/passwd"))


def test_e14_a_changed_file_is_read_again(read, tmp_path):
    path, first = tmp_path / "table.csv", read(SMALL)
    times = path.stat().st_mtime_ns
    assert file_digest(path) == first.digest
    second = read(SMALL.replace("7", "8"))
    os.utime(path, ns=(times, times))  # the same size, the same time
    assert second.digest != first.digest
    assert not same(first, second)
    assert read_table(section(path)).digest == second.digest == file_digest(path)


# E15: what is worth a warning


def test_e15_notes(read):
    assert read(SMALL).notes == ()
    rows = [f"{n + 100},{(3 * n) % 13},5,{n % 2}" for n in range(20)]
    assert read("patient,x,flat,y\n" + "\n".join(rows)).notes == (
        "column 'patient' only rises, in whole numbers: leave it out if it numbers the rows",
        "column 'flat' is 5 in every row",
    )
    repeated = SMALL + "\n".join(SMALL.splitlines()[1:4]) + "\n-0,-1.0,0\n"
    assert read(repeated).notes == ("4 of 14 rows repeat an earlier row: both may be in train and test",)


# E16: any change of a file is refused, or read as the csv module and float read it


def reference(data: bytes) -> dict[str, list[float]]:
    """Columns by name, as plainly as possible."""
    rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    while rows and not rows[-1]:
        rows.pop()
    header, *body = rows
    assert {len(row) for row in body} == {len(header)}
    if header[-1] == "":
        assert {row.pop() for row in rows} == {""}
    return {name: [float(row[index]) for row in body] for index, name in enumerate(header)}


OTHER_CELLS = '0 1 2 -0 1e5 +.5 "1" " 1, a y b \r \n ; \0 \ufeff é 1e-400 ,,'
CELLS = [*BAD_CELLS, *OTHER_CELLS.split(" "), "9" * 400]
CELLS += ["", " ", " 1", "\t", "\r\n", "\u2028", "\x85", "\x0c", '"1\n', "0" * 60]


EDITS = [b"0", b"1", b"9", b".", b"-", b",", b'"', b"\r", b"\n", b"\r\n", b"e"]
NUMBERS = st.sampled_from(["0", "1"]) | st.integers(-(10**16), 10**16).map(str) | st.floats().map(repr)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """One of the writings of SMALL with up to three other cells and up to two edits of its bytes."""
    base = draw(st.sampled_from([SMALL, *(way(SMALL) for way in WRITINGS.values())]))
    cells = re.split("([,\n])", base)
    for _ in range(draw(st.integers(0, 3))):
        text = draw(NUMBERS | NUMBERS | st.sampled_from(CELLS) | st.text(max_size=4))
        cells[2 * draw(st.integers(0, len(cells) // 2))] = text  # the others are separators
    data = bytearray("".join(cells).encode())
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        place, span = draw(st.integers(0, len(data))), draw(st.sampled_from([0, 1, 1, 2, 30]))
        data[place : place + span] = draw(st.binary(max_size=2) | st.sampled_from(EDITS))
    return bytes(data)


@given(mutated())
@settings(
    max_examples=500,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_e16_mutations(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "mutated.csv"
    path.write_bytes(data)
    try:
        found = read_table(section(path))
    except TableError:
        return
    expected = reference(data)
    assert {*found.feature_names, "y"} == set(expected)
    for name, column in zip(found.feature_names, found.features.T, strict=True):
        assert column.tolist() == expected[name]
    assert found.labels.tolist() == expected["y"]
    assert set(expected["y"]) == {0, 1}
