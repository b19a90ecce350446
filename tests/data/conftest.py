"""Tables as text, and fixtures that read one that is sound, or one that must be refused."""

import re

import numpy as np
import pytest
from omegaconf import OmegaConf

from pima_hp.config import DataSection
from pima_hp.config.options import CONF
from pima_hp.data.table import SHIPPED, Table, read_table
from pima_hp.errors import TableError

SHIPPED_TEXT = SHIPPED.read_text(encoding="utf-8")
# Ten rows of two features; `a` is not sorted, so that there is nothing to note.
SMALL_ROWS = [[str((7 * row) % 11), f"{row / 4 - 1}", str(row % 2)] for row in range(10)]
SMALL = "a,b,y\n" + "".join(",".join(row) + "\n" for row in SMALL_ROWS)


def given(choice: str) -> list[str]:
    """An option, and a value for each of its mandatory settings: a path is that of the shipped table."""
    group, _, option = choice.partition("=")
    settings = OmegaConf.load(CONF / group / f"{option}.yaml")
    mandatory = {str(key) for key in settings if OmegaConf.is_missing(settings, key)}
    assert mandatory <= {"path"}
    return [choice, *(f"{group}.{key}={SHIPPED}" for key in mandatory)]


NO_NUMBERS = """
    x "1,000" "1,5" 0x1F 1e999 -1e999 1e16 12345678901234567890123 1_000 \u0661 \uff11 1e 1e+ . + - e5
    1.2.3 1d5 1f nan NaN inf -inf Infinity NA N/A None null ? #N/A True $5 5% 1/2 2020-01-01 12:30 =1+1 @x
"""
BAD_CELLS = NO_NUMBERS.split()


def section(
    path: object = None, label: str = "y", features: object = None, zeros: object = (), **others: object
) -> DataSection:
    settings = {
        "path": None if path is None else str(path),
        "label": label,
        "features": features,
        "zero_is_missing": list(zeros),
        "missing": "keep",
        "scaling": "none",
        "test_fraction": 0.2,
        "val_fraction": 0.0,
        "stratified": False,
    }
    return DataSection.model_validate(settings | others)


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
    """Read a file that must be refused; returns what is said, without the name of the file."""

    def problem(content: str | bytes, **settings: object) -> str:
        with pytest.raises(TableError) as caught:
            read(content, **settings)
        assert caught.value.exit_code == 2
        (line,) = caught.value.problems
        assert line.isprintable(), repr(line)
        assert re.match(r"data\.path='.*?table\.csv': ", line), line
        return line.split("table.csv': ", 1)[1]

    return problem


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


def shipped() -> Table:
    return read_table(section(label="outcome", zeros=["glucose", "bmi"]))


def reordered(order: list[int], text: str = SHIPPED_TEXT) -> str:
    rows = [line.split(",") for line in text.splitlines()]
    return "".join(",".join(row[index] for index in order) + "\n" for row in rows)


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
