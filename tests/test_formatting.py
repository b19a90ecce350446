"""Numbers, intervals and settings as text."""

import csv
import io
import math

import numpy as np
import pandas as pd
import pytest

from pima_hp.formatting import (
    csv_text,
    interval_text,
    interval_texts,
    label,
    listed,
    plain,
    shown,
    value_order,
    value_text,
    with_labels,
)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1, 1.0, np.int64(1), np.float32(1)], "1"),
        ([[12, 8], np.array([12.0, 8.0]), (12, 8)], "[12, 8]"),
        ([True, np.True_], "true"),
        ([None, math.nan, np.nan], "none"),
        (["relu"], "relu"),
        ([0.001], "0.001"),
    ],
)
def test_equal_settings_have_one_text(values, text):
    assert {value_text(value) for value in values} == {text}
    assert len({plain(value) for value in values}) == 1


def test_values_are_ordered_by_size_before_words():
    assert sorted(["relu", 16, 5.0, 0.001, None, "adam"], key=value_order) == [0.001, 5.0, 16, "adam", None, "relu"]


def test_settings_have_labels_alone_and_in_sentences():
    assert (label("optimizer._target_"), with_labels("depends on optimizer._target_")) == (
        "optimizer",
        "depends on optimizer",
    )
    assert (label("optimizer.lr"), label("data.zero_is_missing")) == ("learning rate", "zero is missing")
    text = "depends on batch.shuffle, optimizer._target_=torch.optim.Adam"
    assert with_labels(text) == "depends on shuffling, optimizer Adam"


def test_text_is_shown_without_what_cannot_be_seen():
    assert shown("a\ud800\u202eb\n\0\x1b[31m") == "a□□b□□□[31m"
    assert shown("x" * 5000, 10) == "xxxxxxxxx…"


def test_names_are_listed_as_in_a_sentence():
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_an_interval_decides_how_many_digits_are_shown():
    minus = "\N{MINUS SIGN}"
    assert interval_text(0.7424, 0.7378, 0.7461) == "0.742 [0.738, 0.746]"
    assert interval_text(-0.01, -0.0128, -0.0091) == f"{minus}0.0100 [{minus}0.0128, {minus}0.0091]"
    assert interval_text(1.0, 1.0, 1.0) == "1.000 [1.000, 1.000]"
    assert interval_text(3.2e30, 1e30, 7.1e30) == "3.2e+30 [1e+30, 7.1e+30]"
    assert (interval_text(0.5), interval_text(math.nan), interval_text(None)) == ("0.500", "no value", "\N{EN DASH}")


def test_a_column_of_intervals_has_one_number_of_decimals():
    assert interval_texts([(0.99, 0.95, 1.0), (1.0, 0.963, 1.0)]) == ["0.99 [0.95, 1.00]", "1.00 [0.96, 1.00]"]


def test_csv_is_read_back_and_holds_no_formulas():
    texts = ["=1+1", "+a", "-b", "@c", "-5", "+1e-3", "plain", 'quo"te,', "\tx"]
    safe = ["'=1+1", "'+a", "'-b", "'@c", "-5", "+1e-3", "plain", 'quo"te,', "'\tx"]
    table = pd.DataFrame({"=head": texts, "number": np.arange(9) - 4.5, "missing": [None, *texts[1:]]})
    rows = list(csv.reader(io.StringIO(csv_text(table))))
    assert rows[0] == ["'=head", "number", "missing"]
    assert [row[0] for row in rows[1:]] == safe
    assert rows[1] == ["'=1+1", "-4.5", ""]
