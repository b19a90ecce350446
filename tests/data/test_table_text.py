"""The reader of the table, rows E7 to E14: text that reads as the clean file, and what is no text or no file."""

import gzip
import io
import os
import socket
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pima_hp.data import table
from pima_hp.data.table import SHIPPED, SHIPPED_FEATURES, SHIPPED_SHA256, read_table
from pima_hp.errors import StudyError, TableError
from tests.data.conftest import SHIPPED_TEXT, SMALL, WRITINGS, same, section, shipped, with_cell

# E7 to E9: one table, written in many ways; separators and ragged rows


@pytest.mark.parametrize("way", WRITINGS)
@pytest.mark.parametrize("features", [None, list(SHIPPED_FEATURES)])
def test_e7_a_table_may_be_written_in_many_ways(read, way, features):
    found = read(WRITINGS[way](SHIPPED_TEXT), label="outcome", features=features)
    assert same(found, shipped())
    assert found.digest != SHIPPED_SHA256


@pytest.mark.parametrize(
    "content",
    [
        SMALL.replace("\n", ",\n", 1),
        SMALL.replace("\n", ",\n").replace(",\n", "\n", 1),
        SMALL.replace("\n", ",\n").replace("0,\n", "0,9\n", 1),
        with_cell(4, 0, '"1'),
        with_cell(4, 0, '"1"2'),
        with_cell(4, 0, '1"2"'),
        SMALL.replace("\n", ",t\n", 1).replace("0\n", '0,"\n').replace("1\n", "1,x\n"),
        *(SMALL.replace(",", separator) for separator in ";\t| "),
    ],
)
def test_e7_e8_trailing_commas_quotes_and_separators_must_be_sound(refused, content):
    refused(content)


@pytest.mark.parametrize("line", ["1,2,1,5", "1,1", "1", "1,2,1,", ",,,,", "  "])
def test_e9_a_ragged_row_is_refused(refused, line):
    lines = SMALL.splitlines()
    lines.insert(3, line)
    assert "line 4 must have 3 fields" in refused("\n".join(lines) + "\n")


def test_e9_rows_that_are_all_too_long_are_refused(refused):
    """Pandas would take the first column as the index and shift the names."""
    header, body = SMALL.split("\n", 1)
    assert "line 2" in refused(header + "\n" + body.replace("\n", ",7\n"))


# E10 to E14: what is not a text file here


@pytest.mark.parametrize(
    "content",
    [
        *(SMALL.encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")),
        SMALL.replace("a", "größe", 1).encode("latin-1"),
        with_cell(4, 0, "é").encode("latin-1"),
        SMALL.replace("7", "\0", 1).encode(),
        np.random.default_rng(0).bytes(100_000),
        Path(sys.executable).read_bytes()[:100_000],
        gzip.compress(SMALL.encode(), mtime=0),
        b"\x28\xb5\x2f\xfd" + b"\x20" * 40,
    ],
)
def test_e10_e12_what_is_not_text_in_utf_8_is_refused(refused, content):
    refused(content)


def test_e12_an_archive_is_refused(refused):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../table.csv", SMALL)
    refused(buffer.getvalue())


@pytest.mark.timeout(10)
def test_e10_what_is_not_a_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "big.csv").touch()
    os.truncate(tmp_path / "big.csv", 2**40)  # a hole of 1 TiB: read up to the limit only
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    names = ("", "fifo", "link", "socket", "big.csv", "none.csv", "none.csv/below")
    others = ("", "/dev/zero", "/dev/null", "~/none.csv", "x" * 5000, "\ud800.csv", "table\0.csv", "\x1b[31mred.csv")
    for path in (*(tmp_path / name for name in names), *others):
        with pytest.raises(TableError) as caught:
            read_table(section(path))
        assert str(caught.value).isprintable()


def test_e11_rows_and_columns_are_limited(refused, monkeypatch):
    assert "10,000 names" in refused(",".join(f"c{n}" for n in range(10_001)) + "\n")
    monkeypatch.setattr(table, "MAX_ROWS", 12)
    for end in ("\n", "\r"):
        assert "at most" in refused((SMALL + SMALL).replace("\n", end))


def test_a_file_that_cannot_be_read_is_refused(refused, monkeypatch):
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(TableError, match="Permission denied"):
        read_table(section(SHIPPED))


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1/x.csv", "s3://bucket/x.csv", "file:///etc/passwd", f"file://{SHIPPED}"),
        *(r"\\host\share\x.csv", "//host/share/x.csv", "../" * 30 + "etc/passwd"),
    ],
)
def test_e13_only_files_of_this_machine_are_read(url, monkeypatch):
    def no_network(*_: object, **__: object) -> None:
        pytest.fail("a connection was tried")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, no_network)
    with pytest.raises(TableError):
        read_table(section(url))


def test_e14_a_changed_file_is_read_again_and_refused_where_its_digest_is_known(read, tmp_path):
    path, first = tmp_path / "table.csv", read(SMALL)
    times = path.stat().st_mtime_ns
    second = read(SMALL.replace("7", "8"))
    os.utime(path, ns=(times, times))  # the same size, the same time
    assert second.digest != first.digest
    assert not same(first, second)
    assert read_table(section(path), second.digest) is second
    with pytest.raises(StudyError, match=f"digest {first.digest[:12]} before, {second.digest[:12]} now"):
        read_table(section(path), first.digest)
