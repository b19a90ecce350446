"""Serve the splits of a table to Lightning as whole-batch tensors."""

from collections.abc import Iterator

import lightning as L
import torch
from torch import Tensor

from pima_hp.config import Config, Seeds
from pima_hp.data.prepared import PreparedData, batch_size, prepare, table_of
from pima_hp.seeds import Role, stream

Batch = tuple[Tensor, Tensor]


class BatchLoader:
    """Iterate over (B, D) features and (B,) labels, the last partial batch kept, as Keras keeps it.

    Batches are slices of one tensor: no row is ever collated. With a generator the rows are permuted
    anew for each pass, when its first batch is asked for (Lightning also makes iterators that it never
    uses); without one they come in the order of the split.
    """

    def __init__(self, features: Tensor, labels: Tensor, size: int, generator: torch.Generator | None = None) -> None:
        self.features, self.labels, self.size, self.generator = features, labels, size, generator

    def __len__(self) -> int:
        return -(-len(self.labels) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        features, labels = self.features, self.labels
        if self.generator is not None:
            order = torch.randperm(len(labels), generator=self.generator).to(labels.device)
            features, labels = features[order], labels[order]
        yield from zip(features.split(self.size), labels.split(self.size), strict=True)


class PimaDataModule(L.LightningDataModule):
    """The splits of the Pima table, or of any other CSV file that the configuration names.

    The watched rows (`val`) are the test rows themselves with `data.val_fraction=0`, as in the article.

    >>> module = PimaDataModule(configuration, seeds)  # doctest: +SKIP
    >>> module.setup()  # doctest: +SKIP
    """

    def __init__(self, configuration: Config, seeds: Seeds) -> None:
        super().__init__()
        self.config, self.seeds = configuration, seeds
        self.table = table_of(configuration)
        self.prepared: PreparedData | None = None

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 -- Lightning's signature
        """Split, clean and scale; all stages use the same tensors."""
        if self.prepared is None:
            self.prepared = prepare(self.table, self.config, self.seeds.split)

    def train_dataloader(self) -> BatchLoader:
        """Batches of the training rows, in the order of the split or of the run's `order` stream."""
        features, labels = self.part("train")
        generator = stream(self.seeds.order, Role.ORDER) if self.config.batch.shuffle else None
        return BatchLoader(features, labels, batch_size(self.config, len(labels)), generator)

    def val_dataloader(self) -> list[BatchLoader]:
        """The watched rows, then the training rows once more: both scored with the weights at the epoch's end."""
        return [self._whole("val"), self._whole("train")]

    def test_dataloader(self) -> BatchLoader:
        """The test rows as one batch."""
        return self._whole("test")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:  # noqa: ARG002
        """Return the batch as it is: its loader was made from tensors on the device."""
        return batch

    def _whole(self, part: str) -> BatchLoader:
        features, labels = self.part(part)
        return BatchLoader(features, labels, len(labels))

    def part(self, part: str) -> Batch:
        """Return features and labels of train, val or test, on the device of the trainer."""
        self.setup()
        assert self.prepared is not None  # noqa: S101 -- set by setup
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        features, labels = self.prepared.part(getattr(self.prepared.split, part))
        return features.to(device), labels.to(device)
