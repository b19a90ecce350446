"""Which engine trains a run, how runs are grouped, and what becomes of those that fail."""

import logging

import pytest

from pima_hp.config import Config
from pima_hp.errors import EngineError, StudyError
from pima_hp.model import metrics
from pima_hp.run import Results, Run, RunStatus
from pima_hp.training.dispatch import device_of, select, stacks_of, why_not
from tests.training.conftest import ENGINES, MODULES, RunsOf, alone, dispatched, same_bits

SHORT = ("trainer.max_epochs=2", "batch=b32")
CSV = "logger=csv is one of Lightning's"
TOO_LARGE = ("model.hidden_widths=[4096,4096]",)
RPROP = ("optimizer=sgd", "optimizer._target_=torch.optim.Rprop", "~optimizer.momentum", "~optimizer.weight_decay")
AMSGRAD = ("optimizer=adam", "+optimizer.amsgrad=true")
NEITHER = ("scheduler=plateau_half", *AMSGRAD)
OWN_SCHEDULER = ("scheduler=step", "~scheduler.step_size", "~scheduler.gamma")
ONE_CYCLE = "scheduler._target_=torch.optim.lr_scheduler.OneCycleLR"


def config_of(runs_of: RunsOf, *overrides: str) -> Config:
    return runs_of(*overrides)[0].config


def test_auto_is_lightning_for_one_run_and_the_fastest_engine_for_many(runs_of: RunsOf) -> None:
    config = config_of(runs_of)
    assert select(config, alone=True) == "solo"
    assert select(config) == "fused"
    assert select(config, only_lightning=CSV) == "solo"
    assert select(config_of(runs_of, *TOO_LARGE)) == "stacked"
    assert select(config_of(runs_of, *NEITHER)) == "solo", "neither engine knows it"


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("engine", ["solo", *ENGINES])
def test_an_engine_that_is_named_trains_a_single_run_too(runs_of: RunsOf, engine: str, alone: bool) -> None:
    assert select(config_of(runs_of), engine, alone=alone) == engine


REFUSED = {
    "fused": {
        TOO_LARGE: "network",
        AMSGRAD: r"torch\.optim\.Adam",
        RPROP: r"torch\.optim\.Rprop",
        (*OWN_SCHEDULER, ONE_CYCLE, "+scheduler.max_lr=0.1", "+scheduler.total_steps=100"): "momentum",
        (*OWN_SCHEDULER, "scheduler._target_=torch.optim.swa_utils.SWALR", "+scheduler.swa_lr=0.1"): "SWALR",
        ("activation=gelu", "activation.approximate=tanh"): r"torch\.nn\.GELU",
    },
    "stacked": {("scheduler=plateau_half",): "learning rate"},
}
BY_LIGHTNING = {
    ("+trainer.gradient_clip_val=1.0",): r"trainer\.gradient_clip_val",
    ("trainer.precision=bf16-mixed",): r"trainer\.precision=bf16-mixed",
    ("callbacks=early_stopping",): "EarlyStopping",
    ("model._target_=torch.nn.Linear", "~model.hidden_widths", "~model.initialization"): r"torch\.nn\.Linear",
}
CASES = [(name, *case) for name, cases in REFUSED.items() for case in cases.items()]
CASES += [(name, *case) for name in ENGINES for case in BY_LIGHTNING.items()]


@pytest.mark.parametrize(("engine", "overrides", "reason"), CASES, ids=str)
def test_an_engine_that_is_named_and_cannot_is_refused_in_one_line(
    runs_of: RunsOf, engine: str, overrides: tuple[str, ...], reason: str
) -> None:
    runs = runs_of(*overrides)
    with pytest.raises(EngineError, match=f"^engine: {engine} cannot .*{reason}.*; allowed here: auto, solo[^\n]*$"):
        stacks_of(runs, engine=engine)
    assert select(runs[0].config) != engine
    with pytest.raises(EngineError, match=f"{CSV}; allowed here: auto, solo$"):
        select(runs[0].config, engine, only_lightning=CSV)


def test_a_metric_of_every_epoch_that_the_kernel_does_not_compute_is_left_to_the_others(
    runs_of: RunsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(metrics.EPOCH_METRICS, "f1", metrics.f1)
    assert select(config_of(runs_of)) == "stacked"


def test_stacks_are_no_larger_than_asked_for_and_solo_runs_stand_alone(runs_of: RunsOf) -> None:
    runs = runs_of("n_replicates=10")
    stacks = stacks_of(runs, stack_size=4)
    assert [(engine, len(stack)) for engine, stack in stacks] == [("fused", 4), ("fused", 4), ("fused", 2)]
    assert [run for _, stack in stacks for run in stack] == runs
    assert stacks_of(runs, engine="solo") == [("solo", [run]) for run in runs]
    assert stacks_of(runs[:1]) == [("fused", runs[:1])], "one run of a sweep is trained as the others"
    assert stacks_of(runs[:1], together=False) == [("solo", runs[:1])]


def test_the_reason_for_a_slower_engine_is_logged_once(runs_of: RunsOf, caplog: pytest.LogCaptureFixture) -> None:
    runs = [*runs_of(*NEITHER, "n_replicates=3"), *runs_of("n_replicates=2"), *runs_of(*NEITHER, "optimizer.lr=0.1")]
    large = runs_of(*TOO_LARGE)
    stacks = stacks_of([*runs, *large])
    assert [(engine, len(stack)) for engine, stack in stacks] == [("fused", 2), ("stacked", 1), *[("solo", 1)] * 4]
    said = [message.partition(": ")[2] for message in caplog.messages]
    assert said == [why_not("fused", config) for config in (runs[0].config, large[0].config)]
    caplog.clear()
    with caplog.at_level(logging.INFO):
        stacks_of(runs, engine="solo")
        stacks_of(runs[:1], together=False)
    assert caplog.messages == [], "asked for"


def test_runs_that_no_fast_engine_can_train_are_trained_by_lightning(runs_of: RunsOf) -> None:
    runs = runs_of(*SHORT, *NEITHER, "n_replicates=2")
    for results, run in zip(dispatched(runs), runs, strict=True):
        assert results.engine == "solo"
        assert same_bits(results, alone(run))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stack_that_raises_is_halved_until_the_run_that_raises_stands_alone(
    runs_of: RunsOf, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    real, sizes = MODULES[engine].fit_stack, []

    def fit_stack(members: list[Run], progress: object) -> Results:
        sizes.append(len(members))
        results: Results = real(members, progress)  # counts these runs, which `dispatched` checks
        if any(run.seeds.seed == 3 for run in members):
            raise ValueError("planted")
        return results

    monkeypatch.setattr(MODULES[engine], "fit_stack", fit_stack)
    found = dispatched(runs_of(*SHORT, "n_replicates=5"), engine=engine)
    assert sizes == [5, 2, 3, 1, 2, 1, 1]
    statuses = {run.seeds.seed: status for one in found for run, status in zip(one.runs, one.status, strict=True)}
    assert statuses == {seed: RunStatus.FAILED if seed == 3 else RunStatus.COMPLETED for seed in range(5)}
    (failed,) = [one for one in found if one.status == [RunStatus.FAILED]]
    assert (failed.message, failed.engine, failed.n_train, failed.curves) == ("ValueError: planted", "", 0, {})


def test_a_solo_run_that_raises_has_failed_and_a_changed_data_file_ends_the_command(runs_of: RunsOf) -> None:
    runs = runs_of(*SHORT, "n_replicates=2")

    def solo(run: Run) -> Results:
        if run.seeds.seed == 0:
            raise SystemExit(3)
        return alone(run)

    assert [one.status[0] for one in dispatched(runs, solo, engine="solo")] == [RunStatus.FAILED, RunStatus.COMPLETED]

    def changed(run: Run) -> Results:
        raise StudyError("the data file has changed")

    with pytest.raises(StudyError):
        dispatched(runs, changed, engine="solo")


def test_the_device_is_recorded_unless_it_is_the_cpu(runs_of: RunsOf) -> None:
    for run, device, engine in ((*runs_of(), "cpu", "solo"), (*runs_of("trainer=gpu"), "cuda", "solo on cuda")):
        assert device_of(run.config).type == device
        (found,) = dispatched([run], lambda run: Results([run], [RunStatus.COMPLETED]), engine="solo")
        assert found.engine == engine
