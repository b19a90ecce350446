"""The tensors of runs: cleaned, scaled by statistics of their own training rows, split."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pima_hp.config import Config, DataSection
from pima_hp.data.preprocessing import Preprocessing
from pima_hp.data.splits import Split, cut
from pima_hp.data.table import Table, check_unchanged, read_table
from pima_hp.seeds import Role, stream

DTYPES = {"32-true": torch.float32, "64-true": torch.float64}


@dataclass(frozen=True)
class Prepared:
    """What the runs of S splits train on and are scored on.

    Attributes:
        features: (K, D) rows of the table after cleaning and scaling: once where all splits share them, otherwise the
            rows of one split after those of another.
        labels: (K,) zeros and ones, in the dtype of the features.
        split: numbers of these rows, (S, n) each.
    """

    features: Tensor
    labels: Tensor
    split: Split


def batch_size(configuration: Config, n_train: int) -> int:
    """Rows of one update: `full` means all training rows."""
    size = configuration.batch.size
    return n_train if isinstance(size, str) else size


def table_of(configuration: Config) -> Table:
    """Read the table of a configuration; `StudyError` unless it is still the file that its identity names."""
    table = read_table(configuration.data)
    check_unchanged(configuration.data.path, configuration.data_digest, table.digest)
    return table


def prepare(table: Table, data: DataSection, split_seeds: Sequence[int], dtype: torch.dtype) -> Prepared:
    """Split the table with the `split` stream of each seed, then clean and scale it by the training rows alone."""
    raw, labels = torch.from_numpy(table.features), torch.from_numpy(table.labels)
    orders = torch.stack([torch.randperm(len(raw), generator=stream(seed, Role.SPLIT)) for seed in split_seeds])
    split = cut(orders, labels, data)
    if data.missing == "keep" and data.scaling == "none":
        return Prepared(raw.to(dtype), labels.to(dtype), split)
    fitted = [Preprocessing.fit(raw, table.feature_names, rows, data) for rows in split.train]
    features = torch.cat([each.transform(raw) for each in fitted])
    first = torch.arange(len(orders))[:, None] * len(raw)  # row of each split
    split = Split(split.train + first, split.val + first, split.test + first)
    return Prepared(features.to(dtype), labels.to(dtype).repeat(len(orders)), split)
