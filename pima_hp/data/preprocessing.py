"""Imputation and scaling with statistics of the training rows; they travel with a checkpoint."""

from typing import Self

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, model_validator
from torch import Tensor

from pima_hp.config import DataSection
from pima_hp.errors import RowsError


class Preprocessing(BaseModel):
    """Statistics of the training rows: (x - shift) / scale, after zeros of some columns became their median.

    Attributes:
        feature_names: the D columns, in order.
        zero_is_missing: columns whose zeros are replaced.
        medians: what they are replaced by, one for each of these columns.
        shift: D numbers.
        scale: D numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    feature_names: tuple[str, ...]
    zero_is_missing: tuple[str, ...]
    medians: tuple[float, ...]
    shift: tuple[float, ...]
    scale: tuple[float, ...]

    @model_validator(mode="after")
    def _of_equal_lengths(self) -> Self:
        columns, imputed = len(self.feature_names), len(self.zero_is_missing)
        equal = (len(self.shift), len(self.scale), len(self.medians)) == (columns, columns, imputed)
        if not equal or not {*self.zero_is_missing} <= {*self.feature_names}:
            raise ValueError("must have a shift and a scale for each feature, a median for each that is imputed")
        return self

    @classmethod
    def fit(cls, features: Tensor, names: tuple[str, ...], train_rows: Tensor, data: DataSection) -> Self:
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
        imputed = tuple(name for name in data.zero_is_missing if name in names and data.missing == "median")
        train, zeros, ones = features[train_rows], (0.0,) * len(names), (1.0,) * len(names)
        medians = tuple(_median_of_measured(train[:, names.index(name)]) for name in imputed)
        fitted = cls(feature_names=names, zero_is_missing=imputed, medians=medians, shift=zeros, scale=ones)
        if data.scaling == "none":
            return fitted
        train = fitted.transform(train)
        shift, range_ = train.amin(0), train.amax(0) - train.amin(0)
        scale, constant = range_, range_ == 0  # the mean of equal numbers is rounded, their deviation is not quite 0
        if data.scaling == "standard":
            shift, scale = torch.where(constant, shift, train.mean(0)), train.std(0, correction=0)
        scale = torch.where(constant, 1.0, scale)
        return fitted.model_copy(update={"shift": tuple(shift.tolist()), "scale": tuple(scale.tolist())})

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
        wanted, found = list(self.feature_names), [*getattr(frame, "columns", ())]
        if wrong := [name for name in wanted if found.count(name) != 1 or frame[name].dtype.kind not in "biuf"]:
            rule = f"rows: must be a pandas DataFrame with one column of numbers for each of {', '.join(wanted)}"
            raise RowsError(f"{rule}; found no such column {wrong[0]!r:.60}")
        values = np.array(frame[wanted].to_numpy(dtype=np.float64, na_value=np.nan), order="C")
        if len(wrong_at := np.argwhere(~np.isfinite(values))):
            row, column = wrong_at[0]
            rule = f"rows: {wanted[column]!r:.60} must hold finite numbers"
            raise RowsError(f"{rule}; found {values[row, column]} in row {row}")
        return self.transform(torch.from_numpy(values))


def _median_of_measured(column: Tensor) -> float:
    """Return the median of the numbers (n,) other than zero; 0 where there are none."""
    measured = column[column != 0]
    return float(torch.quantile(measured, 0.5)) if len(measured) else 0.0
