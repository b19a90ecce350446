"""Serve the splits of a table to Lightning as whole-batch tensors: to one run, or to M runs with a member axis."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor

from pima_hp.config import DataSection, Seeds
from pima_hp.data.preprocessing import Preprocessing
from pima_hp.data.splits import split_rows
from pima_hp.data.table import check_unchanged, read_table
from pima_hp.seeds import Role, stream

Batch = tuple[Tensor, Tensor]
_SEED_ZERO = Seeds(seed=0, init=0, split=0, order=0)


class BatchLoader:
    """Iterate over batches of features and labels; the last partial one is kept, as Keras keeps it.

    Batches are slices of one tensor: no row is ever collated. With generators the rows are permuted anew for each
    pass, when its first batch is asked for (Lightning also makes iterators that it never uses); without them they come
    in the order of the split.

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
    """The splits of the Pima table, or of a CSV file of one's own.

    Args:
        path: a CSV file; None: the table that ships with the package.
        label: its column of zeros and ones.
        features: columns, in order; None: every column but the label.
        zero_is_missing: columns in which 0 means that nothing was measured.
        missing: `keep` these zeros, or replace them by the `median`.
        scaling: `none`, `standard` or `minmax`, by statistics of the training rows.
        test_fraction: fraction of the rows held out for testing.
        val_fraction: fraction of the rows scored every epoch; 0: validation uses the test rows, as in the article.
        stratified: whether every split keeps the class proportions.
        batch_size: rows of one update; `full`: all training rows.
        shuffle: whether the order of the training rows changes from epoch to epoch.
        seeds: of one run, or of M runs, whose batches have a leading member axis.
        dtype: of features and labels.
        digest: expected SHA-256 of the table.

    Attributes:
        preprocessing: imputation and scaling of the run, once it is set up; None for M runs.
        n_features: D.

    >>> data = PimaDataModule(batch_size=32, scaling="standard")
    >>> data.setup()
    >>> features, labels = next(iter(data.train_dataloader()))
    >>> features.shape, labels.shape
    (torch.Size([32, 8]), torch.Size([32]))
    """

    def __init__(
        self,
        path: str | None = None,
        label: str = "outcome",
        features: Sequence[str] | None = None,
        zero_is_missing: Sequence[str] = ("glucose", "blood_pressure", "skin_thickness", "insulin", "bmi"),
        missing: Literal["keep", "median"] = "keep",
        scaling: Literal["none", "standard", "minmax"] = "none",
        test_fraction: float = 0.2,
        val_fraction: float = 0.0,
        stratified: bool = False,
        *,
        batch_size: int | str = 10,
        shuffle: bool = False,
        seeds: Seeds | Sequence[Seeds] = _SEED_ZERO,
        dtype: torch.dtype = torch.float32,
        digest: str | None = None,
    ) -> None:
        super().__init__()
        self.section = DataSection.model_validate(
            {
                "path": path,
                "label": label,
                "features": None if features is None else list(features),
                "zero_is_missing": list(zero_is_missing),
                "missing": missing,
                "scaling": scaling,
                "test_fraction": test_fraction,
                "val_fraction": val_fraction,
                "stratified": stratified,
            }
        )
        self.batch_size, self.shuffle, self.seeds, self.dtype = batch_size, shuffle, seeds, dtype
        self.table = read_table(self.section)
        if digest is not None:
            check_unchanged(path, digest, self.table.digest)
        self.n_features = len(self.table.feature_names)
        self.preprocessing: Preprocessing | None = None
        self._parts: dict[str, Batch] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """Return what decides which rows train and how they are preprocessed: settings, digest, split seed."""
        seed = self.seeds.split if isinstance(self.seeds, Seeds) else None
        settings = {key: value for key, value in self.section.arguments.items() if key != "path"}
        return {**settings, "digest": self.table.digest, "split_seed": seed}

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002 -- Lightning's signature
        """Split, clean and scale; all stages use the same tensors."""
        if self._parts:
            return
        if isinstance(self.seeds, Seeds):
            self._parts, self.preprocessing = self._prepared(self.seeds.split)
            return
        of_seed = {seed: self._prepared(seed)[0] for seed in {seeds.split for seeds in self.seeds}}
        parts = [of_seed[seeds.split] for seeds in self.seeds]
        for part in parts[0]:
            features, labels = zip(*(each[part] for each in parts), strict=True)
            self._parts[part] = torch.stack(features), torch.stack(labels)

    def _prepared(self, split_seed: int) -> tuple[dict[str, Batch], Preprocessing]:
        raw, labels = torch.from_numpy(self.table.features), torch.from_numpy(self.table.labels).to(self.dtype)
        split = split_rows(labels, self.section, stream(split_seed, Role.SPLIT))
        preprocessing = Preprocessing.fit(raw, self.table.feature_names, split.train, self.section)
        features = preprocessing.transform(raw).to(self.dtype)
        rows = {"train": split.train, "val": split.val, "test": split.test}
        return {part: (features[numbers], labels[numbers]) for part, numbers in rows.items()}, preprocessing

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that differ: without validation rows of their own, `val` is the test rows."""
        return ("train", "val", "test") if self.section.val_fraction else ("train", "val")

    def part(self, part: str) -> Batch:
        """Return features and labels of train, val or test, on the device of the trainer."""
        self.setup()
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        features, labels = self._parts[part]
        return features.to(device), labels.to(device)

    def train_dataloader(self) -> BatchLoader:
        """Return batches of the training rows, in the order of the split or of each run's `order` stream."""
        features, labels = self.part("train")
        size = labels.shape[-1] if isinstance(self.batch_size, str) else self.batch_size
        members = [self.seeds] if isinstance(self.seeds, Seeds) else self.seeds
        generators = [stream(seeds.order, Role.ORDER) for seeds in members] if self.shuffle else []
        return BatchLoader(features, labels, size, generators)

    def val_dataloader(self) -> list[BatchLoader]:
        """Return the watched rows, then the training rows: both are scored with the weights at the epoch's end."""
        return [self._whole("val"), self._whole("train")]

    def test_dataloader(self) -> BatchLoader:
        """Return the test rows as one batch."""
        return self._whole("test")

    def predict_dataloader(self) -> BatchLoader:
        """Return the test rows as one batch."""
        return self.test_dataloader()

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:  # noqa: ARG002
        """Return the batch as it is: its loader was made from tensors on the device."""
        return batch

    def _whole(self, part: str) -> BatchLoader:
        features, labels = self.part(part)
        return BatchLoader(features, labels, labels.shape[-1])
