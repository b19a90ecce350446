"""The tensors of one run: cleaned, scaled by statistics of its own training rows, split."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pima_hp.config import Config, DataSection
from pima_hp.data.splits import Split, split_rows
from pima_hp.data.table import Table, check_unchanged, read_table
from pima_hp.seeds import Role, stream

DTYPES = {"32-true": torch.float32, "64-true": torch.float64}


@dataclass(frozen=True)
class PreparedData:
    """What a run trains and is scored on.

    Attributes:
        features: (n, D) all rows of the table after cleaning and scaling.
        labels: (n,) zeros and ones, in the dtype of the features.
        split: row numbers of train, val and test.
    """

    features: Tensor
    labels: Tensor
    split: Split

    def part(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (len(rows), D) and labels (len(rows),) of some rows."""
        return self.features[rows], self.labels[rows]


def batch_size(configuration: Config, n_train: int) -> int:
    """Rows of one update: `full` means all training rows."""
    size = configuration.batch.size
    return n_train if isinstance(size, str) else size


def table_of(configuration: Config) -> Table:
    """Read the table of a configuration; `StudyError` unless it is still the file that its identity names."""
    table = read_table(configuration.data)
    check_unchanged(configuration.data.path, configuration.data_digest, table.digest)
    return table


def prepare(table: Table, configuration: Config, split_seed: int) -> PreparedData:
    """Split the table with the run's `split` stream, then clean and scale it by its training rows alone."""
    dtype = DTYPES[configuration.trainer.precision]
    labels = torch.from_numpy(table.labels).to(dtype)
    split = split_rows(labels, configuration.data, stream(split_seed, Role.SPLIT))
    features = clean_and_scale(torch.from_numpy(table.features), table.feature_names, split.train, configuration.data)
    return PreparedData(features.to(dtype), labels, split)


def clean_and_scale(features: Tensor, names: tuple[str, ...], train_rows: Tensor, data: DataSection) -> Tensor:
    """Return (n, D) float64 features with statistics of the training rows.

    `missing=median` replaces zeros of the columns in `zero_is_missing` by the median of the training rows
    that are not zero there; `scaling=standard` subtracts the mean and divides by the standard deviation
    (n in the denominator, as scikit-learn's StandardScaler); `scaling=minmax` maps the training rows to
    [0, 1]. A column that is constant over the training rows is only shifted.
    """
    if data.missing == "median":
        columns = [names.index(name) for name in data.zero_is_missing if name in names]
        measured = features[:, columns]
        measured = torch.where(measured == 0, torch.nan, measured)
        medians = torch.nanquantile(measured[train_rows], 0.5, dim=0)
        medians = torch.nan_to_num(medians)  # nothing was ever measured: the zeros stay
        features = features.clone()
        features[:, columns] = torch.where(measured.isnan(), medians, measured)
    if data.scaling == "none":
        return features
    train = features[train_rows]
    lowest, range_ = train.amin(0), train.amax(0) - train.amin(0)
    if data.scaling == "standard":
        shift, scale = train.mean(0), train.std(0, correction=0)
    else:
        shift, scale = lowest, range_
    constant = range_ == 0  # the mean of equal numbers is rounded, and their standard deviation is not quite 0
    return (features - torch.where(constant, lowest, shift)) / torch.where(constant, 1.0, scale)
