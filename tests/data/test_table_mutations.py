"""Row E16: any change of a file is refused, or read as the csv module and float read it."""

import csv
import io
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pima_hp.data.table import read_table
from pima_hp.errors import TableError
from tests.data.conftest import BAD_CELLS, SMALL, WRITINGS, section


def reference(data: bytes) -> dict[str, list[float]]:
    """Columns by name, as plainly as possible."""
    lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    header, *body = rows = [row for row in lines if row]  # blank lines are skipped
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
