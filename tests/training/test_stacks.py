"""Which runs may share a stack, and that sharing one changes nothing (FAULTS C4, C11)."""

import numpy as np
import pytest
import torch

from pima_hp.config import Config
from pima_hp.config.options import options
from pima_hp.run import Run
from pima_hp.training import stacked
from pima_hp.training.fused import engine as fused
from tests.training.conftest import (
    ENGINES,
    MODULES,
    RunsOf,
    alone,
    assert_parity,
    dispatched,
    ended,
    same_bits,
    scores_of,
    together,
)

SHORT = ("trainer.max_epochs=3", "batch=b32", "data.scaling=standard")
BOTH = pytest.mark.parametrize("engine", ENGINES)


def mixed(runs_of: RunsOf, engine: str, *overrides: str) -> list[Run]:
    """80 runs of one stack: seeds for the stacked engine; for the fused one eight learning rates, ten seeds each."""
    if engine == "stacked":
        return runs_of(*SHORT, *overrides, "n_replicates=80")
    rates = [10.0**-power for power in range(8)]
    return [run for rate in rates for run in runs_of(*SHORT, *overrides, f"optimizer.lr={rate}", "n_replicates=10")]


MEMBERS = {
    "lr and slope": [
        ("optimizer=adam", "activation=leaky_relu", f"optimizer.lr={lr}", f"activation.negative_slope={slope}")
        for lr in (0.1, 0.001) for slope in (0.01, 0.3)
    ],
    "momentum and weight decay": [
        ("optimizer=sgd", f"optimizer.momentum={momentum}", f"optimizer.weight_decay={decay}")
        for momentum in (0.1, 0.5, 0.9) for decay in (0.01, 0.1)
    ],
    "decay rates of rmsprop": [
        ("optimizer=rmsprop", f"optimizer.alpha={alpha}", f"optimizer.eps={eps}", f"optimizer.momentum={momentum}")
        for alpha, eps, momentum in ((0.9, 1e-7, 0.1), (0.99, 1e-3, 0.5), (0.5, 1e-8, 0.9))
    ],
    "betas of nadam": [
        ("optimizer=nadam", f"optimizer.betas=[{beta},0.99]", f"optimizer.momentum_decay={decay}", "optimizer.lr=0.01")
        for beta in (0.5, 0.9) for decay in (0.0, 0.004)
    ],
    "initialization, scaling and split": [
        (f"model.initialization={name}", f"data.scaling={scaling}", f"data.missing={missing}", f"data.stratified={s}")
        for name, scaling, missing, s in (
            ("uniform", "none", "keep", "false"), ("he_normal", "standard", "median", "true"),
            ("torch_default", "minmax", "keep", "true"),
        )
    ],
    "schedules": [
        ("scheduler=plateau_half", "scheduler.threshold=10.0", f"scheduler.patience={wait}", f"scheduler.factor={f}")
        for wait, f in ((0, 0.5), (1, 0.1), (0, 0.25))
    ],
}  # fmt: skip


@pytest.mark.parametrize("what", MEMBERS)
def test_members_of_the_fused_engine_may_differ_and_each_equals_its_solo_run(runs_of: RunsOf, what: str) -> None:
    runs = [run for own in MEMBERS[what] for run in runs_of(*SHORT, "trainer.precision=64", *own)]
    assert len({fused.stack_key(run.config) for run in runs}) == 1
    assert len({stacked.stack_key(run.config) for run in runs}) == len(runs)
    results = together(runs, "fused")
    for found, run in zip(results, runs, strict=True):
        assert_parity(found, alone(run), rtol=1e-9)
    assert not any(same_bits(results[0], found) for found in results[1:]), "each member has values of its own"


@BOTH
def test_members_may_differ_in_each_stream(runs_of: RunsOf, engine: str) -> None:
    pinned = (("init", 1), ("init", 9), ("split", 9), ("order", 9))
    common = (*SHORT, "trainer.precision=64", "batch.shuffle=true", "seed=1")
    runs = [run for role, seed in pinned for run in runs_of(*common, f"streams.{role}={seed}")]
    assert len({MODULES[engine].stack_key(run.config) for run in runs}) == 1
    results = together(runs, engine)
    for found, run in zip(results, runs, strict=True):
        assert_parity(found, alone(run), rtol=1e-9)
    assert not any(same_bits(results[0], found) for found in results[1:])


# Members that do not all begin where a register does, and an optimizer that makes a whole step of a rounding error.
ODD = ("trainer.precision=64", "batch.size=10", "optimizer=nadam", "optimizer.betas=[0.9,0.0]")
VARIANTS = [
    ("fused", ODD),
    ("stacked", ODD),
    ("stacked", ("batch.shuffle=true", "optimizer=adam")),
    ("stacked", ("optimizer=sgd_momentum", "scheduler=step", "scheduler.step_size=1", "activation=tanh")),
    ("stacked", ("optimizer=adamw", "scheduler=cosine", "activation=gelu", "batch=full")),
]


@pytest.mark.parametrize(("engine", "variant"), VARIANTS, ids=str)
def test_c4_grouping_does_not_change_a_bit(runs_of: RunsOf, engine: str, variant: tuple[str, ...]) -> None:
    """More of the fused engine in `tests/faults/test_stacks.py`."""
    runs = mixed(runs_of, engine, *variant)
    whole = {run.id: found for run, found in zip(runs, together(runs, engine), strict=True)}
    shuffled = [runs[(37 * place) % len(runs)] for place in range(len(runs))]
    for size in (80, 65, 17, 2):
        for start in range(0, len(runs) if size > 2 else 8, size):
            stack = shuffled[start : start + size]
            for run, found in zip(stack, together(stack, engine), strict=True):
                assert same_bits(found, whole[run.id]), (size, start)


WILD = ("optimizer=sgd", "activation=identity", "trainer.max_epochs=20", "trainer.precision=64", "batch=b32",
        "model.hidden_widths=[4,4,4]", "model.initialization=he_normal", "data.scaling=standard")  # fmt: skip


def test_members_that_diverge_leave_the_others_of_a_torch_stack_alone(runs_of: RunsOf) -> None:
    runs = runs_of(*WILD, "optimizer.lr=1.0", "n_replicates=70")
    results = together(runs, "stacked")
    survivors = [place for place, found in enumerate(results) if ended(found)[0] == "completed"]
    assert 10 < len(survivors) < 60
    for place, found in zip(survivors, together([runs[place] for place in survivors], "stacked"), strict=True):
        assert same_bits(found, results[place])
    for place in set(range(12)) - set(survivors):
        assert ended(results[place]) == ended(alone(runs[place]))
        assert scores_of(results[place]) == {}
        stop = int(results[place].stop_epoch[0])
        for curve in results[place].curves.values():
            assert np.isfinite(curve[0]).tolist() == [True] * (stop - 1) + [False] * (21 - stop)


@BOTH
@pytest.mark.parametrize("rate", [1.0, 1e30])
def test_all_members_may_diverge_and_each_stops_where_its_solo_run_does(
    runs_of: RunsOf, engine: str, rate: float
) -> None:
    runs = runs_of(*WILD, f"optimizer.lr={rate}", "n_replicates=2")
    expected = [ended(alone(run)) for run in runs]
    assert {status for status, _, _ in expected} == {"diverged"} or rate < 1e5
    assert [ended(found) for found in together(runs, engine)] == expected
    for _, stop_epoch, n_updates in expected:
        assert n_updates == 3 * (stop_epoch or 20)


@BOTH
def test_c11_what_differs_in_shape_or_rule_never_shares_a_stack(runs_of: RunsOf, engine: str) -> None:
    variants = [f"{group}={option}" for group in ("activation", "optimizer", "scheduler") for option in options(group)]
    variants += ["batch=b5", "batch=full", "batch.shuffle=true", "model.hidden_widths=[5]", "trainer.max_epochs=2"]
    variants += ["trainer.precision=64", "data.test_fraction=0.3", "data.val_fraction=0.2", "seed=3"]
    variants += ["optimizer=sgd optimizer.momentum=0.9 +optimizer.nesterov=true", "data=csv"]
    groups: dict[str, list[Config]] = {}
    for variant in variants:
        for run in runs_of(*variant.split(" "), "n_replicates=2"):
            groups.setdefault(MODULES[engine].stack_key(run.config), []).append(run.config)
    assert len(groups) > 10
    for configs in groups.values():
        targets = [(one.activation.target, one.optimizer.target, one.scheduler.target) for one in configs]
        rules = [
            (*which, bool(one.optimizer.arguments.get("nesterov"))) for which, one in zip(targets, configs, strict=True)
        ]
        assert len(set(rules)) == 1
        sizes = [(one.model.hidden_widths, one.data.test_fraction, one.data.val_fraction) for one in configs]
        assert all(size == sizes[0] for size in sizes)
        assert all((one.batch, one.trainer, one.data_digest) == (configs[0].batch, configs[0].trainer,
                                                                configs[0].data_digest) for one in configs)  # fmt: skip
        assert engine == "fused" or all(one == configs[0] for one in configs)


def test_results_say_which_engine_trained_on_how_many_rows_and_how_many_of_them_are_positive(runs_of: RunsOf) -> None:
    runs = runs_of("trainer.max_epochs=1", "n_replicates=3")
    state = torch.random.get_rng_state()
    results = {engine: dispatched(runs, engine=engine) for engine in (*ENGINES, "solo")}
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is left as it was"
    rates = {engine: np.concatenate([one.positive_rate for one in found]).tolist() for engine, found in results.items()}
    assert rates["solo"] == rates["fused"] == rates["stacked"]
    assert [round(rate * 96) / 96 for rate in rates["solo"]] == pytest.approx(rates["solo"])
    for engine, found in results.items():
        assert {(one.engine, one.n_train) for one in found} == {(engine, 96)}  # of 120
        assert all(one.duration_s > 0 and one.ended_s > 1.7e9 for one in found)
