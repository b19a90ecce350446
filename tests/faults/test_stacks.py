"""C1 to C4, C6, C8, C11, C12: the results of a run do not depend on the other members of its stack."""

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from pima_hp.run import Results, Run, RunStatus
from pima_hp.seeds import Role
from pima_hp.training.dispatch import stacks_of
from pima_hp.training.fused import engine as fused
from pima_hp.training.fused import stack
from pima_hp.training.fused.engine import make_stack
from tests.conftest import job_of, members_of
from tests.training.conftest import dispatched

OPTIONS = {  # those that the runs share, and that in which some of them differ
    "plain": ((), "optimizer.alpha=0.8"),
    "shuffled": (("batch.shuffle=true", "optimizer=adam"), "optimizer.betas=[0.8,0.99]"),
    "cosine, scaled": (("scheduler=cosine", "data=pima_standardized", "optimizer=nadam"), "optimizer.betas=[0.8,0.99]"),
    "plateau, full batch": (
        ("scheduler=plateau_half", "batch=full", "activation=leaky_relu"),
        "optimizer.momentum=0.5",
    ),
    "momentum": (("optimizer=sgd_momentum", "batch.size=7", "activation=gelu"), "optimizer.momentum=0.5"),
    "decay": (("optimizer=adamw", "optimizer.weight_decay=0.1"), "optimizer.weight_decay=0.01"),
    "adagrad": (("optimizer=adagrad",), "optimizer.eps=1.0e-6"),
    "adamax": (("optimizer=adamax",), "optimizer.betas=[0.8,0.99]"),
}
BAD = 5

Result = tuple[Any, ...]


def _runs(*overrides: str, n: int = 4) -> list[Run]:
    batch = () if any(override.startswith("batch") for override in overrides) else ("batch=b32",)
    options = ("trainer.max_epochs=3", *batch, f"n_replicates={n}", *overrides)
    return list(job_of(*options).runs)


def _result(one: Results) -> Result:
    """All bits of the results of one run."""
    bits = [sorted((key, values.tobytes()) for key, values in of.items()) for of in (one.curves, one.scores)]
    return one.status[0], int(one.stop_epoch[0]), int(one.n_updates[0]), *bits


def _results(runs: Sequence[Run]) -> dict[str, Result]:
    """Train runs as a sweep does."""
    stacks = dispatched(runs)
    found = [one for results in stacks for one in members_of(results)]
    assert len({one.runs[0].id for one in found}) == len(found) == len(runs)
    return {one.runs[0].id: _result(one) for one in found}


def _nan_features(monkeypatch: pytest.MonkeyPatch) -> None:
    real = stack.prepare

    def prepare(table: Any, runs: Any, *settings: Any) -> Any:
        prepared = real(table, runs, *settings)
        damaged = prepared.features.clone()
        damaged[3::2, 1] = torch.nan
        for rows in prepared.rows.values():
            rows[[seed == BAD for _, seed in runs]] += len(damaged)  # the others do not share these rows
        features = torch.cat([prepared.features, damaged])
        return replace(prepared, features=features, labels=prepared.labels.repeat(2))

    monkeypatch.setattr(stack, "prepare", prepare)


def _error_in_build(monkeypatch: pytest.MonkeyPatch) -> None:
    real = stack.stream

    def stream(seed: int, role: Role) -> torch.Generator:
        if seed == BAD and role is Role.INIT:
            raise ValueError("planted")
        return real(seed, role)

    monkeypatch.setattr(stack, "stream", stream)


def _nothing(monkeypatch: pytest.MonkeyPatch) -> None: ...


FAULTS: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None], RunStatus]] = {
    "a rate of 1e30": ("1.0e30", _nothing, RunStatus.DIVERGED),
    "NaN in its data": ("0.01", _nan_features, RunStatus.DIVERGED),
    "an error in its build": ("0.01", _error_in_build, RunStatus.FAILED),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_c1_one_bad_run_leaves_the_others_bit_identical(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    rate, plant, status = FAULTS[fault]
    good = [run for run in _runs("optimizer=sgd", "optimizer.lr=0.01", n=20) if run.seeds.seed != BAD]
    (bad,) = _runs("optimizer=sgd", f"optimizer.lr={rate}", f"seed={BAD}", n=1)
    alone = _results(good)
    plant(monkeypatch)
    together = _results([*good[:7], bad, *good[7:]])
    ended, stop_epoch, *_ = together.pop(bad.id)
    assert together == alone
    assert all(result[0] is RunStatus.COMPLETED for result in alone.values())
    assert (ended, stop_epoch > 0) == (status, status is RunStatus.DIVERGED)


@pytest.mark.slow
def test_c2_bad_runs_at_every_position_several_and_all() -> None:
    good = _runs("optimizer=sgd", "optimizer.lr=0.01", n=17)
    bad = _runs("optimizer=sgd", "optimizer.lr=1.0e30", n=17)
    alone, lost = _results(good), _results(bad)
    assert all(result[0] is RunStatus.DIVERGED for result in lost.values())
    for positions in [*([position] for position in range(17)), [0, 1], [0, 8, 16], list(range(1, 17))]:
        mixed = [bad[i] if i in positions else good[i] for i in range(17)]
        assert _results(mixed) == {run.id: (alone | lost)[run.id] for run in mixed}


@pytest.mark.parametrize("options", OPTIONS)
def test_c3_c4_shuffled_runs_in_stacks_of_any_size_have_equal_bits(options: str) -> None:
    chosen, other = OPTIONS[options]
    chosen = (*chosen, "trainer.max_epochs=2")
    runs = [*_runs(*chosen, n=8), *_runs(*chosen, "optimizer.lr=0.02", n=4)]
    runs += _runs(*chosen, other, n=4)
    runs += _runs(*chosen, "optimizer.lr=1.0e20", n=2)  # most of these diverge
    expected = _results(runs)
    shuffle = random.Random(1)  # noqa: S311
    for size in (2, 7, 64):
        mixed = shuffle.sample(runs, len(runs))
        groups = [mixed[start : start + size] for start in range(0, len(mixed), size)]
        assert {key: result for group in groups for key, result in _results(group).items()} == expected, size


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("precision", [32, 64])
def test_c6_twice_and_with_other_numbers_of_threads_the_bits_are_equal(
    threads: Callable[[int], None], precision: int
) -> None:
    runs = _runs("batch=full", "optimizer=adam", f"trainer.precision={precision}", n=70)
    results = []
    for n_threads in (1, 1, 2, 4):
        threads(n_threads)
        results.append(_results(runs))
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize(
    "error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), torch.OutOfMemoryError()]
)
def test_c8_a_stack_that_does_not_fit_is_halved_until_it_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    runs = _runs(n=21)
    expected = _results(runs)
    sizes = []

    def limited(runs: Sequence[Run], *rest: Any) -> Any:
        if len(runs) > 3:
            raise error
        sizes.append(len(runs))
        return make_stack(runs, *rest)

    monkeypatch.setattr(fused, "make_stack", limited)
    with caplog.at_level(logging.WARNING):
        assert _results(runs) == expected
    assert sum(sizes) == 21
    assert max(sizes) <= 3
    assert "a stack of 21 runs raised" in caplog.text
    assert "it is halved" in caplog.text


def test_c8_what_does_not_fit_alone_has_failed_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = _runs(n=4), _runs("model.hidden_widths=[4]", n=4)
    expected = _results(small)

    def limited(runs: Sequence[Run], *rest: Any) -> Any:
        if runs[0].config.model.hidden_widths != [4]:
            raise torch.OutOfMemoryError("planted")
        return make_stack(runs, *rest)

    monkeypatch.setattr(fused, "make_stack", limited)
    found = _results([*large, *small])
    assert {run_id: found[run_id] for run_id in expected} == expected
    assert all(found[run.id][0] is RunStatus.FAILED for run in large)


def test_c11_runs_that_cannot_share_a_stack_never_do_and_what_cannot_be_stacked_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kinds = [
        *((), ("model.hidden_widths=[4]",), ("optimizer=adam",), ("activation=tanh",), ("batch.size=5",)),
        *(("batch.shuffle=true",), ("scheduler=step",), ("trainer.max_epochs=4",), ("trainer.precision=64",)),
    ]
    runs = [run for kind in kinds for run in _runs(*kind, n=3)]
    solo = _runs("scheduler=plateau_half", "optimizer=adam", "+optimizer.amsgrad=true", n=2)
    mixed = random.Random(2).sample([*runs, *solo], len(runs) + 2)  # noqa: S311
    stacks = stacks_of(mixed, together=True)
    fast = [group for engine, group in stacks if engine == "fused"]
    assert len(fast) == len(kinds)
    assert all(len({run.config.id for run in group}) == 1 for group in fast)
    assert {run.id for engine, (run, *_) in stacks if engine == "solo"} == {run.id for run in solo}
    assert "a slower engine is used: " in caplog.text


def test_c12_what_a_run_draws_does_not_depend_on_its_neighbours() -> None:
    runs = _runs("batch.shuffle=true", n=6)
    lone = make_stack([runs[3], runs[3]], 1)
    for company in (runs, runs[3:], runs[::-1], [runs[0], runs[3]]):
        place = company.index(runs[3])
        together = make_stack(company, 1)
        assert torch.equal(together.vectors[place], lone.vectors[0])
        for split in ("train", "val"):
            for found, expected in zip(together.data.tensors(split), lone.data.tensors(split), strict=True):
                assert torch.equal(found[place], expected[0])
    orders = [make_stack(group, 1).orders for group in (runs, runs[3:])]
    first, second = ([torch.randperm(9, generator=generator) for generator in of_group] for of_group in orders)
    assert torch.equal(first[3], second[0])
    assert not torch.equal(first[3], first[2])
