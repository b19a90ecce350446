"""The reader of the table: rows E7 to E15, text that must read as the clean file, and what is no text."""

import gzip
import io
import os
import socket
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pima_hp.data import strict_csv
from pima_hp.data.table import SHIPPED, SHIPPED_FEATURES, SHIPPED_SHA256, read_table
from pima_hp.errors import TableError
from tests.data.conftest import (
    SHIPPED_TEXT,
    SMALL,
    WRITINGS,
    same,
    section,
    shipped,
    with_cell,
)

# E7: one table, written in many ways


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
    second = read(SMALL.replace("7", "8"))
    os.utime(path, ns=(times, times))  # the same size, the same time
    assert second.digest != first.digest
    assert not same(first, second)
    assert read_table(section(path)).digest == second.digest


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
