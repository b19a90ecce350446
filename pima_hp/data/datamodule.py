"""The splits of a table as batches of tensors: for Lightning, and with a member axis for stacks."""

from collections.abc import Iterator, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor

from pima_hp.config import BatchSection, DataSection, Seeds
from pima_hp.data.prepared import Preprocessing, prepare
from pima_hp.data.table import read_table
from pima_hp.seeds import Role, stream

Batch = tuple[Tensor, Tensor]
_SEED_ZERO = Seeds(0, 0, 0, 0)


class BatchLoader:
    """Iterate over batches of features and labels; the last partial one is kept, as Keras keeps it.

    Batches are slices of one tensor; nothing is collated. With generators the rows are permuted anew for each pass, at
    its first batch (Lightning also makes iterators that it never uses); without them they keep the order of the split.

    Args:
        features: (n, D), or (M, n, D)
        labels: (n,), or (M, n)
        size: B
        generators: one, or one for each of the M members.

    Yields:
        (B, D) and (B,), or (M, B, D) and (M, B)
    """

    def __init__(self, features: Tensor, labels: Tensor, size: int, generators: Sequence[torch.Generator] = ()) -> None:
        self.features, self.labels, self.size, self.generators = features, labels, size, generators

    def __len__(self) -> int:
        return -(-self.labels.shape[-1] // self.size)

    def __iter__(self) -> Iterator[Batch]:
        features, labels = self.features, self.labels
        if self.generators:
            orders = [torch.randperm(labels.shape[-1], generator=generator) for generator in self.generators]
            order = torch.stack(orders).view(labels.shape).to(labels.device)
            labels = labels.gather(-1, order)
            features = features.gather(-2, order.unsqueeze(-1).expand_as(features))
        yield from zip(features.split(self.size, dim=-2), labels.split(self.size, dim=-1), strict=True)


class PimaDataModule(L.LightningDataModule):
    """The splits of the Pima table, or of a CSV file of the user's own.

    Args:
        batch_size: rows of one update; `full`: all training rows.
        shuffle: whether the order of the training rows changes from epoch to epoch.
        seeds: of the run, or of each of M runs, whose batches have a member axis; `split` and `order` are used here.
        dtype: of features and labels.
        device: where they lie without a Trainer.
        digest: expected SHA-256 of the table.
        settings: see `DataSection`, in short
            path: a CSV file; None: the table that ships with the package.
            label: its column of zeros and ones.
            features: columns, in order; None: every column but the label.
            zero_is_missing: columns in which 0 means that nothing was measured.
            missing: `keep` these zeros, or replace them by the `median`.
            scaling: `none`, `standard` or `minmax`, by statistics of the training rows.
            test_fraction: fraction of the rows held out for testing.
            val_fraction: fraction of the rows scored every epoch; 0: validation uses the test rows, as in the article.
            stratified: whether every split keeps the class proportions.

    Attributes:
        preprocessing: imputation and scaling of the (first) run, once it is set up.
        n_features: D.

    >>> data = PimaDataModule(batch_size=32, scaling="standard")
    >>> data.setup()
    >>> features, labels = next(iter(data.train_dataloader()))
    >>> features.shape, labels.shape
    (torch.Size([32, 8]), torch.Size([32]))
    """

    def __init__(
        self,
        *,
        batch_size: int | str = 10,
        shuffle: bool = False,
        seeds: Seeds | Sequence[Seeds] = _SEED_ZERO,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        digest: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.section = DataSection.model_validate(settings)
        self.batch = BatchSection(size=batch_size, shuffle=shuffle)
        self.is_single = isinstance(seeds, Seeds)
        self.seeds: Sequence[Seeds] = [seeds] if isinstance(seeds, Seeds) else seeds
        self.dtype, self.device = dtype, device
        self.table = read_table(self.section, digest)
        self.n_features = len(self.table.feature_names)
        self.preprocessing: Preprocessing | None = None
        self._tensors: dict[str, Batch] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """Return what decides which rows train and how they are preprocessed: settings, digest, split seed."""
        settings = self.section.model_dump(exclude={"path"})
        return {**settings, "digest": self.table.digest, "split_seed": self.seeds[0].split}

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 -- Lightning's signature
        """Split, clean and scale; all stages use the same tensors."""
        if not self._tensors:
            prepared = prepare(self.table, [(self.section, seeds.split) for seeds in self.seeds], self.dtype)
            for split in self.section.splits:
                features, labels = prepared.tensors(split)
                self._tensors[split] = (features[0], labels[0]) if self.is_single else (features, labels)
            self.preprocessing = prepared.preprocessing[0]

    def tensors(self, split: str) -> Batch:
        """Return features and labels of train, val or test, on the device of the trainer."""
        self.setup()
        device = self.trainer.strategy.root_device if self.trainer else self.device
        features, labels = self._tensors[split if split in self.section.splits else "val"]
        return features.to(device), labels.to(device)

    def train_dataloader(self) -> BatchLoader:
        """Return batches of the training rows, in the order of the split or of the `order` stream."""
        features, labels = self.tensors("train")
        generators = [stream(seeds.order, Role.ORDER) for seeds in self.seeds] if self.batch.shuffle else []
        return BatchLoader(features, labels, self.batch.n_rows(labels.shape[-1]), generators)

    def val_dataloader(self) -> list[BatchLoader]:
        """Return the validation rows, then the training rows: both are scored with the weights at the epoch's end."""
        return [self._whole("val"), self._whole("train")]

    def test_dataloader(self) -> BatchLoader:
        """Return the test rows as one batch."""
        return self._whole("test")

    predict_dataloader = test_dataloader

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:  # noqa: ARG002
        """Return the batch as it is: its loader was made from tensors on the device."""
        return batch

    def _whole(self, split: str) -> BatchLoader:
        features, labels = self.tensors(split)
        return BatchLoader(features, labels, labels.shape[-1])
