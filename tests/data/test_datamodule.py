"""`PimaDataModule` over every option of conf/data, for one run and for many, and its loader."""

import pytest
import torch

from pima_hp.config import Config, Seeds
from pima_hp.config.build import build
from pima_hp.config.options import options
from pima_hp.data import PimaDataModule
from pima_hp.data.datamodule import BatchLoader
from pima_hp.data.prepared import prepare
from pima_hp.data.table import read_table
from pima_hp.errors import ConfigurationError, StudyError
from pima_hp.seeds import Role, stream
from pima_hp.training.solo import datamodule_of
from tests.conftest import job_of, seeds_of
from tests.data.conftest import given


def module_of(*overrides: str) -> PimaDataModule:
    (run,) = job_of(*overrides).runs
    return datamodule_of(run.config, run.seeds)


@pytest.mark.parametrize("choice", [f"data={option}" for option in options("data")])
def test_each_option_serves_what_every_engine_trains_on(choice: str) -> None:
    (run,) = job_of(*given(choice), "batch.size=32").runs
    module = datamodule_of(run.config, run.seeds)
    module.setup("fit")
    prepared = prepare(read_table(run.config.data), [(run.config.data, run.seeds.split)], torch.float32)
    assert tuple(prepared.rows) == module.section.splits
    expected = {split: [tensor[0] for tensor in prepared.tensors(split)] for split in module.section.splits}
    batches = list(module.train_dataloader())
    assert len(batches) == len(module.train_dataloader()) == -(-len(expected["train"][1]) // 32)
    assert {len(labels) for _, labels in batches[:-1]} == {32}
    train = [torch.cat(tensors) for tensors in zip(*batches, strict=True)]
    (val,), (train_again,) = module.val_dataloader()
    (test,) = module.test_dataloader()
    served = {"train": train, "val": val, "test": test}
    for split, (features, labels) in expected.items():
        assert torch.equal(served[split][0], features)
        assert torch.isfinite(features).all()
        assert torch.equal(served[split][1], labels)
    assert torch.equal(train_again[0], train[0])
    assert ("test" in module.section.splits) is not torch.equal(test[0], val[0])
    preprocessing = module.preprocessing
    module.setup("test")
    assert module.preprocessing is preprocessing, "all stages use the same tensors"
    assert preprocessing is not None
    raw = torch.tensor(module.table.features)[prepared.rows["train"][0] % len(module.table.labels)]
    assert torch.equal(preprocessing.transform(raw).float(), train[0])


def test_many_runs_get_what_each_gets_alone() -> None:
    config = job_of("data=pima_standardized", "batch.shuffle=true", "batch.size=32").config
    seeds = [seeds_of(3), seeds_of(0), seeds_of(4)]
    together = list(datamodule_of(config, seeds).train_dataloader())
    for place, own in enumerate(seeds):
        alone = datamodule_of(config, own).train_dataloader()
        for many, one in zip(together, alone, strict=True):
            assert all(torch.equal(of_many[place], of_one) for of_many, of_one in zip(many, one, strict=True))


def test_the_split_depends_on_its_own_stream_alone() -> None:
    one, other = module_of("seed=1", "streams.split=5"), module_of("seed=2", "streams.split=5")
    assert torch.equal(one.tensors("train")[0], other.tensors("train")[0])
    assert not torch.equal(one.tensors("train")[0], module_of("seed=1").tensors("train")[0])


def test_without_arguments_it_serves_the_articles_data() -> None:
    module = PimaDataModule()
    (run,) = job_of("data=pima", "batch=b10").runs
    for mine, given_ in zip(
        module.tensors("train"), datamodule_of(run.config, run.seeds).tensors("train"), strict=True
    ):
        assert torch.equal(mine, given_)
    assert next(iter(module.train_dataloader()))[0].shape == (10, 8)
    assert len(PimaDataModule(batch_size="full").train_dataloader()) == 1
    assert PimaDataModule(dtype=torch.float64).tensors("val")[1].dtype == torch.float64


class TwoColumns(PimaDataModule):
    """A datamodule of one's own: two columns, whatever the table has."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(**{**arguments, "features": ["glucose", "bmi"]})  # type: ignore[arg-type]


def test_a_subclass_may_be_the_target() -> None:
    config: Config = job_of().config
    node = {**config.data.node, "_target_": f"{TwoColumns.__module__}.TwoColumns"}
    module = build(node, PimaDataModule, batch_size=4, shuffle=False, seeds=seeds_of(0))
    assert next(iter(module.train_dataloader()))[0].shape == (4, 2)


def test_bad_arguments_and_a_changed_table_are_refused() -> None:
    node = {**job_of().config.data.node, "scaling": "no such"}
    with pytest.raises(ConfigurationError, match="refused its arguments"):
        build(node, PimaDataModule)
    with pytest.raises(StudyError, match="must not change within a study"):
        PimaDataModule(digest="0" * 64)


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
    features, labels = module.tensors("train")
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


def test_the_order_belongs_to_the_order_stream_alone() -> None:
    seeds = Seeds(seed=1, init=2, split=0, order=4)
    one = list(PimaDataModule(shuffle=True, seeds=seeds).train_dataloader())
    other = list(PimaDataModule(shuffle=True, seeds=seeds_of(0)).train_dataloader())
    assert not torch.equal(one[0][0], other[0][0])
