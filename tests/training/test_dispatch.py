"""Which engine trains what, what it says of the others, and what becomes of runs that fail."""

import logging
from collections.abc import Callable

import pytest

from pima_hp.config import Config
from pima_hp.errors import EngineError
from pima_hp.run import Results, Run, RunStatus
from pima_hp.training import dispatch, stacked
from pima_hp.training.dispatch import ONE_RUN, refusal, select, stacks_of, train
from pima_hp.training.fused import engine as fused
from pima_hp.training.progress import Progress
from tests.training.conftest import RunsOf, alone, same_bits

SHORT = ("trainer.max_epochs=2", "batch=b32")
CSV = "logger=csv is one of Lightning's"
TOO_LARGE = ("model.hidden_widths=[4096,4096]",)
RPROP = ("optimizer=sgd", "optimizer._target_=torch.optim.Rprop", "~optimizer.momentum", "~optimizer.weight_decay")
BETA = ("scheduler=plateau_half", "scheduler.threshold_mode=rel")


def config_of(runs_of: RunsOf, *overrides: str) -> Config:
    return runs_of(*overrides)[0].config


def test_auto_is_lightning_for_one_run_and_the_fastest_engine_for_many(runs_of: RunsOf) -> None:
    config, large = config_of(runs_of), config_of(runs_of, *TOO_LARGE)
    assert select(config, alone=True) == ("solo", ONE_RUN)
    assert select(config) == ("fused", "")
    assert select(config, only_lightning=CSV) == ("solo", CSV)
    assert select(large) == ("stacked", "its network is too large for the caches")
    assert select(config_of(runs_of, *BETA))[0] == "solo", "neither engine knows it"


@pytest.mark.parametrize("alone", [False, True])
def test_an_engine_that_is_named_trains_a_single_run_too(runs_of: RunsOf, alone: bool) -> None:
    config = config_of(runs_of)
    assert [select(config, name, alone=alone)[0] for name in ("solo", "stacked", "fused")] == [
        *("solo", "stacked", "fused")
    ]
    assert [refusal(config, name) for name in ("auto", "solo", "stacked", "fused")] == [""] * 4


REFUSED = {
    "fused": {
        TOO_LARGE: "its network is too large for the caches; allowed here: auto, solo, stacked",
        ("optimizer=adam", "+optimizer.amsgrad=true"): "no row for the optimizer torch.optim.Adam(lr=0.001, ",
        RPROP: "no row for the optimizer torch.optim.Rprop(",
        BETA: "no row for the scheduler torch.optim.lr_scheduler.ReduceLROnPlateau(",
        ("activation=gelu", "activation.approximate=tanh"): "no row for the activation torch.nn.GELU(approximate=tanh)",
        ("+trainer.gradient_clip_val=1.0",): "it knows no trainer.gradient_clip_val; allowed here: auto, solo",
        ("trainer.precision=bf16-mixed",): "it has no precision bf16-mixed; allowed here: auto, solo",
        ("callbacks=early_stopping",): "it calls no callbacks (early_stopping); allowed here: auto, solo",
    },
    "stacked": {BETA: "each member would need a learning rate of its own; allowed here: auto, solo"},
}


@pytest.mark.parametrize(
    ("engine", "overrides"), [(name, overrides) for name, cases in REFUSED.items() for overrides in cases], ids=str
)
def test_an_engine_that_is_named_and_cannot_is_refused_in_one_line(
    runs_of: RunsOf, engine: str, overrides: tuple[str, ...]
) -> None:
    config = config_of(runs_of, *overrides)
    said = refusal(config, engine)
    assert said.startswith(f"engine: {engine} cannot train this: {REFUSED[engine][overrides]}")
    assert "; allowed here: auto, solo" in said
    assert "\n" not in said
    assert select(config, engine)[0] != engine
    with pytest.raises(EngineError, match=f"engine: {engine} cannot train this"):
        stacks_of(runs_of(*overrides), engine=engine, together=True)


def test_an_engine_that_is_named_is_refused_where_only_lightning_can_log(runs_of: RunsOf) -> None:
    said = refusal(config_of(runs_of), "fused", only_lightning=CSV)
    assert said == f"engine: fused cannot train this: {CSV}; allowed here: auto, solo"


def test_a_metric_of_every_epoch_that_the_kernel_does_not_compute_is_left_to_the_others(
    runs_of: RunsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pima_hp.model import metrics

    monkeypatch.setitem(metrics.EPOCH_METRICS, "f1", metrics.f1)
    assert select(config_of(runs_of)) == ("stacked", "it computes no f1 each epoch")


def test_stacks_are_no_larger_than_asked_for_and_solo_runs_stand_alone(runs_of: RunsOf) -> None:
    runs = runs_of("n_replicates=10")
    stacks = stacks_of(runs, stack_size=4, together=True)
    assert [(engine, len(stack)) for engine, stack in stacks] == [("fused", 4), ("fused", 4), ("fused", 2)]
    assert [run for _, stack in stacks for run in stack] == runs
    assert stacks_of(runs, engine="solo", together=True) == [("solo", [run]) for run in runs]
    assert stacks_of(runs[:1], together=True) == [("fused", runs[:1])], "one run of a sweep is trained as the others"
    assert stacks_of(runs[:1], together=False) == [("solo", runs[:1])]


def test_what_is_trained_one_at_a_time_is_said_once_a_reason(runs_of: RunsOf, caplog: pytest.LogCaptureFixture) -> None:
    runs = [*runs_of(*BETA, "n_replicates=3"), *runs_of("n_replicates=2"), *runs_of(*BETA, "optimizer.lr=0.1")]
    with caplog.at_level(logging.WARNING):
        stacks = stacks_of(runs, together=True)
    assert [(engine, len(stack)) for engine, stack in stacks] == [("fused", 2), *[("solo", 1)] * 4]
    (said,) = caplog.messages
    assert said == "4 runs are trained one at a time: each member would need a learning rate of its own"
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        stacks_of(runs, engine="solo", together=True)
        stacks_of(runs[:1], together=False)
    assert caplog.messages == [], "asked for"


def results_of(runs: list[Run], solo: Callable[[Run], Results] = alone, **options: object) -> list[Results]:
    with Progress(len(runs)) as progress:
        found = list(train(runs, together=True, solo=solo, progress=progress, **options))  # type: ignore[arg-type]
    assert progress.done == len(runs)
    return found


def test_runs_that_no_fast_engine_can_train_are_trained_by_lightning(runs_of: RunsOf) -> None:
    runs = runs_of(*SHORT, *BETA, "n_replicates=2")
    for results, run in zip(results_of(runs), runs, strict=True):
        assert results.engine == "solo"
        assert same_bits(results, alone(run))


@pytest.mark.parametrize("engine", ["fused", "stacked"])
def test_a_stack_that_raises_is_halved_until_the_run_that_raises_stands_alone(
    runs_of: RunsOf, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    runs = runs_of(*SHORT, "n_replicates=5")
    module = {"fused": fused, "stacked": stacked}[engine]
    real, sizes = module.fit_stack, []

    def fit_stack(members: list[Run], progress: Progress) -> Results:
        progress.advance(len(members) / 2)
        sizes.append(len(members))
        if any(run.seeds.seed == 3 for run in members):
            raise ValueError("planted")
        progress.rewind(progress.done - len(members) / 2)
        return real(members, progress)

    monkeypatch.setattr(module, "fit_stack", fit_stack)
    found = results_of(runs, engine=engine)
    assert sizes == [5, 2, 3, 1, 2, 1, 1]
    statuses = {run.seeds.seed: status for one in found for run, status in zip(one.runs, one.status, strict=True)}
    assert statuses == {seed: RunStatus.FAILED if seed == 3 else RunStatus.COMPLETED for seed in range(5)}
    (failed,) = [one for one in found if one.status == [RunStatus.FAILED]]
    assert (failed.message, failed.engine, failed.n_train, failed.curves) == ("ValueError: planted", "", 0, {})


def test_a_solo_run_that_raises_has_failed_and_a_changed_data_file_ends_the_command(runs_of: RunsOf) -> None:
    from pima_hp.errors import StudyError

    runs = runs_of(*SHORT, "n_replicates=2")

    def solo(run: Run) -> Results:
        if run.seeds.seed == 0:
            raise SystemExit(3)
        return alone(run)

    assert [one.status[0] for one in results_of(runs, solo, engine="solo")] == [RunStatus.FAILED, RunStatus.COMPLETED]

    def changed(run: Run) -> Results:
        raise StudyError("the data file has changed")

    with pytest.raises(StudyError):
        results_of(runs, changed, engine="solo")


def test_the_reason_for_a_slower_engine_is_said_once(runs_of: RunsOf, caplog: pytest.LogCaptureFixture) -> None:
    dispatch._say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            stacks_of(runs_of(*TOO_LARGE), together=True)
    assert caplog.messages == ["falling back to the stacked engine: its network is too large for the caches"]
