"""The tensors of one run: cleaned, scaled by statistics of its own training rows, split."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pima_hp.config import Config
from pima_hp.data.preprocessing import Preprocessing
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
    raw = torch.from_numpy(table.features)
    preprocessing = Preprocessing.fit(raw, table.feature_names, split.train, configuration.data)
    return PreparedData(preprocessing.transform(raw).to(dtype), labels, split)
