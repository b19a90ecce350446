"""Imputation and scaling travel with a checkpoint: exact numbers, and raw rows by the names of their columns."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError

from pima_hp.data.prepared import Preprocessing
from pima_hp.errors import RowsError
from tests.data.conftest import section

NAMES = ("glucose", "bmi", "age")
RAW = torch.tensor(
    [[0.0, 21.5, 30.0], [110.0, 0.0, 41.0], [150.0, 33.1, 41.0], [90.0, 28.0, 65.0]], dtype=torch.float64
)
TRAIN = torch.tensor([0, 1, 2])


def fitted(missing: str = "median", scaling: str = "standard") -> Preprocessing:
    data = section(zeros=["glucose", "bmi", "insulin"], missing=missing, scaling=scaling)
    return Preprocessing.fit(RAW, NAMES, TRAIN, data)


def test_statistics_are_those_of_the_training_rows_after_imputation() -> None:
    found = fitted()
    assert [median for median, *_ in found.columns.values()] == [130.0, (21.5 + 33.1) / 2, None]
    imputed = RAW.clone()
    imputed[0, 0], imputed[1, 1] = 130.0, (21.5 + 33.1) / 2
    train = imputed[TRAIN]
    expected = (imputed - train.mean(0)) / train.std(0, correction=0)
    assert torch.equal(found.transform(RAW), expected)
    assert float(RAW[0, 0]) == 0.0, "the raw rows are left as they are"


@pytest.mark.parametrize("missing", ["keep", "median"])
@pytest.mark.parametrize("scaling", ["none", "standard", "minmax"])
def test_the_statistics_survive_being_written_down_exactly(missing: str, scaling: str) -> None:
    found = fitted(missing, scaling)
    again = Preprocessing.model_validate(json.loads(json.dumps(found.model_dump())))
    assert again == found
    assert torch.equal(again.transform(RAW), found.transform(RAW))
    if (missing, scaling) == ("keep", "none"):
        assert torch.equal(found.transform(RAW), RAW)


GOOD = [130.0, 0.5, 2.0]


@pytest.mark.parametrize(
    "wrong", [None, 3, {}, GOOD[:2], [*GOOD, 1.0], ["x", 0.5, 2.0], [None, None, 2.0], [1.0, 0.5, math.nan]]
)
def test_statistics_other_than_a_median_a_shift_and_a_scale_are_refused(wrong: object) -> None:
    assert Preprocessing.model_validate({"columns": {"glucose": GOOD, "age": [None, *GOOD[1:]]}}).columns
    for content in ({"columns": {"glucose": GOOD, "bmi": wrong}}, {"columns": wrong or 1}, {}):
        with pytest.raises(ValidationError):
            Preprocessing.model_validate(content)


def frame(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(dict(zip(NAMES, RAW.T.numpy(), strict=True))).assign(**columns)


def test_columns_are_found_by_name_in_any_order() -> None:
    found = fitted()
    expected = found.transform(RAW)
    for rows in (frame(), frame(name="x")[["age", "name", "bmi", "glucose"]], frame(age=[30, 41, 41, 65])):
        assert torch.equal(found.rows(rows), expected)
    assert found.rows(frame()[:0]).shape == (0, 3)
    nullable = frame().convert_dtypes()
    assert torch.equal(found.rows(nullable), expected)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (frame().drop(columns=["bmi", "age"]), "for each of glucose, bmi, age; found no such column 'bmi'"),
        (frame().rename(columns={"bmi": "BMI"}), "'bmi'"),
        (pd.concat([frame(), frame()[["bmi"]]], axis=1), "'bmi'"),
        (frame(age=["30", "41", "41", "65"]), "no such column 'age'"),
        (frame(age=[30, 41, None, 65]), "'age' must hold numbers .*; found nan in row 2"),
        (frame(age=pd.array([30, None, 41, 65], dtype="Int64")), "'age' must hold numbers .*; found nan in row 1"),
        (frame(age=[30, 41, 41, np.inf]), "'age' must hold numbers .*; found inf in row 3"),
        (frame(age=[1j] * 4), "no such column 'age'"),
        (RAW.numpy(), "must be a pandas DataFrame"),
    ],
)
def test_wrong_rows_are_refused_in_one_line(rows: object, message: str) -> None:
    with pytest.raises(RowsError, match=message) as caught:
        fitted().rows(rows)  # type: ignore[arg-type]
    assert str(caught.value).startswith("rows: ")
    assert "\n" not in str(caught.value)
