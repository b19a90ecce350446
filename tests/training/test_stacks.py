"""Who may share a stack, and that sharing one changes nothing (FAULTS C1, C3, C4, C11, C12)."""

import logging
from dataclasses import replace

import pytest
from pima_hp.training.engines import engine_of
from pima_hp.training.schedule import stacks_of, trained
from pima_hp.training.stack_key import stack_key

from pima_hp.config.options import options
from pima_hp.run import Run
from pima_hp.training.device import engine_on
from pima_hp.training.progress import Progress
from tests.training.conftest import ENGINES, RunsOf, alone, assert_parity, same_bits, together

SHORT = ("trainer.max_epochs=3", "batch=b32", "data.scaling=standard")
BOTH = pytest.mark.parametrize("engine", ENGINES)


def mixed(runs_of: RunsOf, *overrides: str) -> list[Run]:
    """80 runs of one stack: eight learning rates, ten seeds."""
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
    "initialisation, scaling and split": [
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
    "pinned streams": [
        ("batch.shuffle=true", "seed=1", f"streams.{role}={seed}")
        for role, seed in (("init", 1), ("init", 9), ("split", 9), ("order", 9))
    ],
}  # fmt: skip


@BOTH
@pytest.mark.parametrize("what", MEMBERS)
def test_members_may_differ_and_each_equals_its_solo_run(runs_of: RunsOf, engine: str, what: str) -> None:
    runs = [run for own in MEMBERS[what] for run in runs_of(*SHORT, "trainer.precision=64", *own)]
    assert len({stack_key(run.config) for run in runs}) == 1
    records = together(runs, engine)
    for record, run in zip(records, runs, strict=True):
        assert_parity(record, alone(run), rtol=1e-9)
    assert not any(same_bits(records[0], record) for record in records[1:]), "each member has values of its own"


def test_members_with_and_without_momentum_or_weight_decay_stand_apart(runs_of: RunsOf) -> None:
    """The shorter formula of a member without them must not depend on its neighbours."""
    for name in ("momentum", "weight_decay"):
        runs = [run for value in (0.0, 0.1) for run in runs_of("optimizer=sgd", f"optimizer.{name}={value}")]
        assert len({stack_key(run.config) for run in runs}) == 2


def test_switches_of_an_activation_are_shared_by_a_stack(runs_of: RunsOf) -> None:
    leaky = ("activation._target_=torch.nn.LeakyReLU", *SHORT)
    runs = [run for switch in ("true", "false") for run in runs_of(*leaky, f"+activation.inplace={switch}")]
    assert len({stack_key(run.config) for run in runs}) == 2
    for run in runs:
        assert_parity(together([run], "stacked")[0], alone(run), rtol=1e-4)


VARIANTS = [
    (),
    ("batch.shuffle=true", "optimizer=adam"),
    ("optimizer=sgd_momentum", "scheduler=plateau_tenth", "scheduler.patience=0", "activation=tanh"),
    ("optimizer=adamw", "scheduler=cosine", "activation=gelu", "batch=full"),
]
# Members that do not all begin where a register does, and an optimizer that makes a whole step of a rounding error.
ODD = ("trainer.precision=64", "batch.size=10", "optimizer=nadam", "optimizer.betas=[0.9,0.0]")


@BOTH
@pytest.mark.parametrize("variant", [*VARIANTS, ODD], ids=" ".join)
def test_c4_grouping_does_not_change_a_bit(runs_of: RunsOf, engine: str, variant: tuple[str, ...]) -> None:
    runs = mixed(runs_of, *variant)
    whole = {run.id: record for run, record in zip(runs, together(runs, engine), strict=True)}
    order = [(37 * place) % len(runs) for place in range(len(runs))]
    shuffled = [runs[place] for place in order]
    for size in (80, 65, 17, 2):
        for start in range(0, len(runs) if size > 2 else 8, size):
            stack = shuffled[start : start + size]
            for run, record in zip(stack, together(stack, engine), strict=True):
                assert same_bits(record, whole[run.id]), (size, start)


@BOTH
@pytest.mark.parametrize("variant", VARIANTS, ids=" ".join)
@pytest.mark.parametrize("rate", [1e30, float("nan")])
def test_c1_c3_a_run_that_diverges_leaves_its_neighbours_alone(
    runs_of: RunsOf, engine: str, variant: tuple[str, ...], rate: float
) -> None:
    runs = mixed(runs_of, *variant)[30:50]
    clean = together(runs, engine)
    for place in (0, 7, 19):
        bad = runs[place].config
        optimizer = bad.optimizer.model_copy(update={"lr": rate})  # past the checks, which refuse NaN
        members = [*runs]
        members[place] = replace(runs[place], config=bad.model_copy(update={"optimizer": optimizer}))
        records = together(members, engine)
        found = (records[place].status, records[place].stop_epoch, records[place].n_updates)
        if rate == 1e30:  # a saturated tanh keeps the loss finite
            solo = alone(members[place])
            assert found == (solo.status, solo.stop_epoch, solo.n_updates)
            assert solo.status == "diverged" or "activation=tanh" in variant
        else:
            assert found == ("diverged", 1, clean[place].n_updates / bad.trainer.max_epochs)
        assert bool(records[place].scores) == (found[0] == "completed")
        for other in range(len(runs)):
            assert other == place or same_bits(records[other], clean[other]), (place, other)


@BOTH
def test_all_members_may_diverge_and_each_stops_where_its_solo_run_does(runs_of: RunsOf, engine: str) -> None:
    wild = ("optimizer=sgd", "activation=identity", "trainer.max_epochs=20", "trainer.precision=64", "n_replicates=2")
    wild += ("batch=b32", "model.hidden_widths=[4,4,4]", "model.initialization=he_normal", "data.scaling=standard")
    runs = [run for rate in (1.0, 3.0, 1e5, 1e30) for run in runs_of(*wild, f"optimizer.lr={rate}")]
    records, expected = together(runs, engine), [alone(run) for run in runs]
    assert {record.status for record in expected[2:]} == {"diverged"}
    for record, solo in zip(records, expected, strict=True):
        found = (record.status, record.stop_epoch, record.n_updates)
        assert found == (solo.status, solo.stop_epoch, solo.n_updates)
        assert record.n_updates == 3 * (record.stop_epoch or 20)


def test_c11_what_differs_in_shape_or_rule_never_shares_a_stack(runs_of: RunsOf) -> None:
    variants: list[tuple[str, ...]] = [(f"{group}={option}",) for group in ("activation", "optimizer", "scheduler")
                                       for option in options(group)]  # fmt: skip
    variants += [("batch=b5",), ("batch=full",), ("batch.shuffle=true",), ("model.hidden_widths=[5]",), ()]
    variants += [
        ("trainer.max_epochs=2",),
        ("trainer.precision=64",),
        ("data.test_fraction=0.3",),
        ("data.val_fraction=0.2",),
    ]
    variants += [("optimizer=sgd", "optimizer.momentum=0.9", "+optimizer.nesterov=true"), ("data=csv",)]
    runs = [run for variant in variants for run in runs_of(*variant, "n_replicates=2")]
    stacks, solo_only = stacks_of(runs, together=True)
    assert solo_only == []
    assert sorted(run.id for stack in stacks for run in stack) == sorted(run.id for run in runs)
    for stack in stacks:
        first = stack[0].config
        for run in stack:
            other = run.config
            assert other.model.hidden_widths == first.model.hidden_widths
            assert other.activation.target == first.activation.target
            assert other.optimizer.target == first.optimizer.target
            flags = [bool(section.arguments.get("nesterov")) for section in (other.optimizer, first.optimizer)]
            assert flags[0] is flags[1]
            assert other.scheduler.target == first.scheduler.target
            assert (other.batch, other.trainer) == (first.batch, first.trainer)
            assert (other.data.test_fraction, other.data.val_fraction, other.data_digest) == (
                first.data.test_fraction, first.data.val_fraction, first.data_digest
            )  # fmt: skip


def test_stacks_are_no_larger_than_asked_for(runs_of: RunsOf) -> None:
    runs = runs_of("n_replicates=10", "engine.stack_size=4")
    stacks, _ = stacks_of(runs, together=True)
    assert [len(stack) for stack in stacks] == [4, 4, 2]
    assert [run for stack in stacks for run in stack] == runs
    assert stacks_of(runs_of("engine=solo", "n_replicates=2"), together=True)[0] == []


def test_one_run_is_a_stack_for_the_fused_engine_alone(runs_of: RunsOf) -> None:
    no_row = ("activation=gelu", "activation.approximate=tanh")
    for overrides, together_too in [((), True), (no_row, False), (("model.hidden_widths=[4096,4096]",), False)]:
        one = runs_of(*overrides)
        assert stacks_of(one, together=True) == ([one], [])
        assert stacks_of(one, together=False) == (([one], []) if together_too else ([], one))
        assert stacks_of(one, together=False, csv=True) == ([], one)
        assert stacks_of(one, together=True, csv=True) == ([one], [])
    for engine in ENGINES:
        one = runs_of(*no_row, f"engine={engine}")
        assert stacks_of(one, together=False, csv=True) == ([one], [])


def test_a_record_says_which_engine_trained_it_and_where_unless_that_is_the_cpu(runs_of: RunsOf) -> None:
    runs = runs_of("trainer.max_epochs=1", "n_replicates=2")
    for engine in ENGINES:
        assert [record.engine for record in together(runs, engine)] == [engine] * 2
        assert engine_on(engine, runs[0].config) == engine
    assert alone(runs[0]).engine == "solo"
    (on_gpu,) = runs_of("trainer=gpu")
    assert engine_on("stacked", on_gpu.config) == "stacked on cuda"


def test_a_record_says_how_many_rows_it_was_trained_on_and_how_many_of_them_are_positive(runs_of: RunsOf) -> None:
    runs = runs_of("trainer.max_epochs=1", "n_replicates=3", "data.stratified=false")
    records = [alone(runs[0]), *together(runs, ENGINES[0]), *together(runs, ENGINES[1])]
    assert {record.n_train for record in records} == {96}  # of 120
    rates = [record.positive_rate for record in records]
    assert rates[0] == rates[1] == rates[4]
    assert rates[1:4] == rates[4:]
    assert len(set(rates)) > 1
    assert [round(rate * 96) / 96 for rate in rates] == pytest.approx(rates)


@pytest.mark.parametrize(
    ("variant", "reason"),
    [
        (("optimizer=adam", "+optimizer.amsgrad=true"), "no update rule for torch.optim.Adam(lr=0.001, "),
        (("optimizer=sgd", "optimizer._target_=torch.optim.Rprop", "~optimizer.momentum", "~optimizer.weight_decay"),
         "no update rule for torch.optim.Rprop"),
        (("scheduler=plateau_half", "scheduler.threshold_mode=rel"), "no schedule for "),
    ],
    ids=["amsgrad", "rprop", "rel"],
)  # fmt: skip
def test_a_variant_without_a_row_is_trained_solo_and_that_is_said(
    runs_of: RunsOf, caplog: pytest.LogCaptureFixture, variant: tuple[str, ...], reason: str
) -> None:
    runs = runs_of(*SHORT, *variant, "n_replicates=2")
    engine, why = engine_of(runs[0].config)
    assert engine == "solo"
    assert why.startswith(reason)
    with caplog.at_level(logging.INFO), Progress(len(runs)) as progress:
        batches = list(trained(runs, progress, together=True))
    assert [len(batch) for batch in batches] == [1, 1]
    assert f"2 runs are trained one at a time: {reason}" in caplog.text
    for (record,), run in zip(batches, runs, strict=True):
        assert same_bits(record, alone(run))
    assert progress.done == pytest.approx(2)
