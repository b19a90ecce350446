"""Imputation and scaling with statistics of the training rows; they travel with a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pima_hp.config import DataSection
from pima_hp.errors import InputError, RowsError


@dataclass(frozen=True)
class Preprocessing:
    """Statistics of the training rows: (x - shift) / scale, after zeros of some columns became their median.

    Attributes:
        feature_names: the D columns, in order.
        zero_is_missing: columns whose zeros are replaced.
        medians: what they are replaced by, one for each of these columns.
        shift: D numbers.
        scale: D numbers.
    """

    feature_names: tuple[str, ...]
    zero_is_missing: tuple[str, ...]
    medians: tuple[float, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def fit(cls, features: Tensor, names: Sequence[str], train_rows: Tensor, data: DataSection) -> Self:
        """Estimate the statistics from the training rows.

        `missing=median` replaces zeros of the columns in `zero_is_missing` by the median of the training rows that are
        not zero there; `scaling=standard` subtracts the mean and divides by the standard deviation (n in the
        denominator, as scikit-learn's StandardScaler); `scaling=minmax` maps the training rows to [0, 1]. A column that
        is constant over the training rows is only shifted.

        Args:
            features: (n, D) float64, raw.
            names: of the D columns.
            train_rows: row numbers.
            data: `missing`, `zero_is_missing` and `scaling`.
        """
        imputed = [name for name in data.zero_is_missing if name in names] if data.missing == "median" else []
        zeros, ones = (0.0,) * len(names), (1.0,) * len(names)
        train = features[train_rows]
        medians = tuple(_median_of_measured(train[:, names.index(name)]) for name in imputed)
        unscaled = cls(tuple(names), tuple(imputed), medians, zeros, ones)
        if data.scaling == "none":
            return unscaled
        train = unscaled.transform(train)
        lowest, range_ = train.amin(0), train.amax(0) - train.amin(0)
        if data.scaling == "standard":
            shift, scale = train.mean(0), train.std(0, correction=0)
        else:
            shift, scale = lowest, range_
        constant = range_ == 0  # the mean of equal numbers is rounded, and their standard deviation is not quite 0
        shift, scale = torch.where(constant, lowest, shift), torch.where(constant, 1.0, scale)
        return replace(unscaled, shift=tuple(shift.tolist()), scale=tuple(scale.tolist()))

    def transform(self, features: Tensor) -> Tensor:
        """Return preprocessed features (n, D) from raw ones (n, D), both float64."""
        features = features.clone()
        for name, median in zip(self.zero_is_missing, self.medians, strict=True):
            column = features[:, self.feature_names.index(name)]
            column[column == 0] = median
        shift, scale = (torch.tensor(numbers, dtype=torch.float64) for numbers in (self.shift, self.scale))
        return (features - shift) / scale

    def rows(self, frame: pd.DataFrame) -> Tensor:
        """Return preprocessed features (n, D) from a frame of raw rows, whose columns are found by name.

        Raises:
            RowsError: a column is missing or given twice, or holds something other than finite numbers.
        """
        if not isinstance(frame, pd.DataFrame):
            raise RowsError(f"rows: must be a pandas DataFrame; found {type(frame).__name__}")
        wanted = ", ".join(self.feature_names)
        found = [str(name) for name in frame.columns]
        if wrong := [name for name in self.feature_names if found.count(name) != 1]:
            what = "missing" if wrong[0] not in found else "given more than once"
            raise RowsError(f"rows: must have the columns {wanted}; {', '.join(wrong)!r:.200} {what}")
        columns = []
        for name in self.feature_names:
            column = frame.iloc[:, found.index(name)]
            if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_complex_dtype(column):
                raise RowsError(f"rows: {name} must hold numbers; found {column.dtype}")
            columns.append(column.to_numpy(dtype=np.float64, na_value=np.nan))
            if not np.isfinite(columns[-1]).all():
                place = int(np.flatnonzero(~np.isfinite(columns[-1]))[0])
                raise RowsError(f"rows: {name} must hold finite numbers; found {columns[-1][place]} in row {place}")
        return self.transform(torch.from_numpy(np.stack(columns, axis=1)))

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics as lists of numbers and names."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the preprocessing that `to_dict` has written.

        Raises:
            InputError: it is something else.
        """
        try:
            given = {field.name: tuple(content[field.name]) for field in fields(cls)}
            names = [*given["feature_names"], *given["zero_is_missing"]]
            numbers = [*given["medians"], *given["shift"], *given["scale"]]
            sizes = [len(given[name]) for name in ("feature_names", "shift", "scale")]
            sound = (
                all(isinstance(name, str) for name in names)
                and all(isinstance(number, float) for number in numbers)
                and len(set(sizes)) == 1
                and len(given["zero_is_missing"]) == len(given["medians"])
                and set(given["zero_is_missing"]) <= set(given["feature_names"])
            )
        except (KeyError, TypeError):
            sound = False
        if not sound:
            raise InputError("preprocessing: must be what Preprocessing.to_dict returns; found something else")
        return cls(**given)


def _median_of_measured(column: Tensor) -> float:
    """Return the median of the numbers (n,) other than zero; 0 where there are none."""
    measured = column[column != 0]
    return float(torch.quantile(measured, 0.5)) if len(measured) else 0.0
