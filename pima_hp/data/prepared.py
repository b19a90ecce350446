"""Split the rows of a table, clean and scale them: the one preparation for all engines."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from pima_hp.config import DataSection
from pima_hp.data.table import MAX_SIZE, Table
from pima_hp.errors import RowsError
from pima_hp.seeds import Role, stream


def split_rows(labels: Tensor, data: DataSection, generator: torch.Generator) -> dict[str, Tensor]:
    """Permute the rows and cut them into test, val and train.

    Args:
        labels: (n,) zeros and ones; used when `data.stratified`, which keeps the share of each label
            in every split to within one row.
        data: fractions and `stratified`.
        generator: the run's `split` stream.

    Returns:
        Row numbers of `train`, `val` (the test rows where `val_fraction` is 0) and `test`, in order.
    """
    order = torch.randperm(len(labels), generator=generator)
    n_train, n_val, n_test = data.split_sizes(len(labels))
    if data.stratified:
        positive = labels[order] > 0.5
        rank = torch.where(positive, positive.cumsum(0), (~positive).cumsum(0))  # among the rows of its label, from 1
        in_test, in_val = (math.ceil(n * int(positive.sum()) / len(order) - 0.5) for n in (n_test, n_val))
        is_test = rank <= torch.where(positive, in_test, n_test - in_test)
        is_train = rank > torch.where(positive, in_test + in_val, n_test + n_val - in_test - in_val)
        train, val, test = order[is_train], order[~is_train & ~is_test], order[is_test]
    else:
        test, val, train = order.split_with_sizes([n_test, n_val, n_train])
    return {"train": train, "val": val if n_val else test, "test": test}


class Preprocessing(BaseModel):
    """Imputation and scaling with statistics of the training rows; it travels with a checkpoint.

    Attributes:
        columns: name of each of the D columns, in order -> the median that replaces its zeros (None where they are
            kept), shift and scale of (x - shift) / scale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    columns: dict[str, tuple[float | None, float, float]]

    @classmethod
    def fit(cls, features: Tensor, names: Sequence[str], train_rows: Tensor, data: DataSection) -> "Preprocessing":
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
        fitted = cls.model_construct(columns=dict.fromkeys(names, (None, 0.0, 1.0)))
        train = features[train_rows]
        if data.missing == "median":
            medians = torch.where(train == 0, torch.nan, train).nanquantile(0.5, dim=0).nan_to_num(0.0).tolist()
            for name in {*data.zero_is_missing} & {*names}:
                fitted.columns[name] = (medians[names.index(name)], 0.0, 1.0)
        if data.scaling == "none":
            return fitted
        train = fitted.transform(train)
        shift, scale = train.amin(0), train.amax(0) - train.amin(0)
        constant = scale == 0  # the mean of equal numbers is rounded, and their deviation is not quite 0
        if data.scaling == "standard":
            shift, scale = torch.where(constant, shift, train.mean(0)), train.std(0, correction=0)
        numbers = zip(names, shift.tolist(), torch.where(constant, 1.0, scale).tolist(), strict=True)
        return cls.model_construct(columns={name: (fitted.columns[name][0], *both) for name, *both in numbers})

    def transform(self, features: Tensor) -> Tensor:
        """Return preprocessed features (n, D) from raw ones (n, D), both float64."""
        numbers = [(math.nan if median is None else median, *both) for median, *both in self.columns.values()]
        median, shift, scale = torch.tensor(numbers, dtype=torch.float64).unbind(1)
        return (torch.where((features == 0) & ~median.isnan(), median, features) - shift) / scale

    def rows(self, frame: pd.DataFrame) -> Tensor:
        """Return preprocessed features (n, D) from a frame of raw rows, whose columns are found by name.

        Raises:
            RowsError: a column is missing or given twice, or holds something other than finite numbers.
        """
        wanted, found = list(self.columns), [*getattr(frame, "columns", ())]
        if wrong := [name for name in wanted if found.count(name) != 1 or frame[name].dtype.kind not in "biuf"]:
            rule = f"rows: must be a pandas DataFrame with one column of numbers for each of {', '.join(wanted)}"
            raise RowsError(f"{rule}; found no such column {wrong[0]!r:.60}")
        values = np.array(frame[wanted].to_numpy(dtype=np.float64, na_value=np.nan), order="C")
        if len(wrong_at := np.argwhere(~(np.abs(values) <= MAX_SIZE))):  # also inf and NaN
            row, column = wrong_at[0]
            rule = f"rows: {wanted[column]!r:.60} must hold numbers of size up to {MAX_SIZE:g}"
            raise RowsError(f"{rule}; found {values[row, column]} in row {row}")
        return self.transform(torch.from_numpy(values))


@dataclass(frozen=True)
class Prepared:
    """The data of M members.

    Attributes:
        features: (K, D) the rows of the table as the file has them, then once more for each preprocessing.
        labels: (K,) zeros and ones, in the dtype of the features.
        rows: split -> numbers of its rows (M, n), in the order of the split; see `DataSection.splits`.
        preprocessing: that of each distinct split.
    """

    features: Tensor
    labels: Tensor
    rows: dict[str, Tensor]
    preprocessing: Sequence[Preprocessing]

    def tensors(self, split: str) -> tuple[Tensor, Tensor]:
        """Return features (M, n, D) and labels (M, n) of a split."""
        return gather(self.features, self.rows[split]), gather(self.labels, self.rows[split])


def prepare(
    table: Table, members: Sequence[tuple[DataSection, int]], dtype: torch.dtype, device: torch.device | None = None
) -> Prepared:
    """Split the table for each member, then clean and scale it by that member's training rows alone.

    Args:
        table: the table.
        members: settings and split seed of each; the settings have the same fractions. Equal members share their rows.
        dtype: of the result; statistics are computed in float64.
        device: of the result; by default the CPU.
    """
    raw, labels = torch.tensor(table.features), torch.tensor(table.labels, dtype=dtype, device=device)
    places = {member: place for place, member in enumerate(dict.fromkeys(members))}
    blocks, splits, fitted = [raw], [], []
    for data, seed in places:
        split = split_rows(labels, data, stream(seed, Role.SPLIT))
        fitted.append(Preprocessing.fit(raw, table.feature_names, split["train"], data))
        first = 0
        if data.missing != "keep" or data.scaling != "none":
            first = len(raw) * len(blocks)
            blocks.append(fitted[-1].transform(raw))
        splits.append({name: split[name] + first for name in data.splits})
    of_member = [places[member] for member in members]
    rows = {name: torch.stack([split[name] for split in splits])[of_member].to(device) for name in splits[0]}
    return Prepared(torch.cat(blocks).to(device, dtype), labels.repeat(len(blocks)), rows, fitted)


def gather(table: Tensor, rows: Tensor) -> Tensor:
    """Return rows of a table (K, ...) by numbers of any shape: `table[rows]` in a quarter of its time."""
    return table.index_select(0, rows.flatten()).view(*rows.shape, *table.shape[1:])
