"""`PimaDataModule` over every option of conf/data, and its loader."""

import pytest
import torch

from pima_hp.config.options import options
from pima_hp.data.datamodule import BatchLoader, PimaDataModule
from pima_hp.seeds import Role, stream
from tests.conftest import job_of
from tests.data.conftest import given


def module_of(*overrides: str) -> PimaDataModule:
    request = job_of(*overrides)
    return PimaDataModule(request.config, request.seeds[0])


@pytest.mark.parametrize("choice", [f"data={option}" for option in options("data")])
def test_each_option_serves_disjoint_parts_whole_and_in_batches(choice: str) -> None:
    module = module_of(*given(choice), "batch.size=32")
    module.setup("fit")
    assert module.prepared is not None
    prepared = module.prepared
    split, val_fraction = prepared.split, module.config.data.val_fraction
    rows = [split.train, split.test] + ([split.val] if val_fraction else [])
    assert torch.equal(torch.cat(rows).sort().values, torch.arange(len(prepared.labels)))
    batches = list(module.train_dataloader())
    assert len(batches) == len(module.train_dataloader()) == -(-len(split.train) // 32)
    assert {len(labels) for _, labels in batches[:-1]} == {32}
    features, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert torch.equal(features, prepared.features[split.train])
    assert torch.equal(labels, prepared.labels[split.train])
    watched, trained = module.val_dataloader()
    for loader, part in ((watched, split.val), (trained, split.train), (module.test_dataloader(), split.test)):
        (whole,) = loader
        assert torch.equal(whole[0], prepared.features[part])
        assert torch.equal(whole[1], prepared.labels[part])
    module.setup("test")
    assert module.prepared is prepared, "all stages use the same tensors"


def test_the_split_depends_on_its_own_stream_alone() -> None:
    one, other = module_of("seed=1", "streams.split=5"), module_of("seed=2", "streams.split=5")
    assert torch.equal(one.part("train")[0], other.part("train")[0])
    assert not torch.equal(one.part("train")[0], module_of("seed=1").part("train")[0])


@pytest.mark.parametrize("size", [1, 3, 7, 10, 11])
def test_the_last_partial_batch_is_kept(size: int) -> None:
    features, labels = torch.arange(20.0).view(10, 2), torch.arange(10.0)
    loader = BatchLoader(features, labels, size)
    sizes = [len(rows) for _, rows in loader]
    assert sum(sizes) == 10
    assert len(sizes) == len(loader)
    assert sizes[:-1] == [size] * (len(sizes) - 1)
    for _ in range(2):  # in the same order each time
        assert torch.equal(torch.cat([rows for _, rows in loader]), labels)


def test_a_shuffled_pass_is_a_permutation_that_the_order_stream_replays() -> None:
    module = module_of("batch.shuffle=true", "seed=4")
    loader, again = module.train_dataloader(), module.train_dataloader()
    _, labels = module.part("train")
    features = module.part("train")[0]
    generator = stream(4, Role.ORDER)
    passes = []
    for _ in range(3):
        iter(loader)  # Lightning makes iterators that it never uses; they draw nothing
        served = torch.cat([rows for rows, _ in loader])
        order = torch.randperm(len(labels), generator=generator)
        assert torch.equal(served, features[order])
        assert torch.equal(served, torch.cat([rows for rows, _ in again]))
        passes.append(served)
    assert not torch.equal(passes[0], passes[1])
