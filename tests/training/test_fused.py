"""The fused engine's own parts: elementary functions, rows for every option, threads, and the way back to torch."""

import logging

import numpy as np
import pytest
import torch
from numba import njit, types
from numba.core.extending import intrinsic

from pima_hp.config.options import options
from pima_hp.data.table import read_table
from pima_hp.errors import EngineError
from pima_hp.training.dispatch import select, stacks_of, why_not
from pima_hp.training.fused import functions
from pima_hp.training.fused.cpu import CPUStack
from pima_hp.training.fused.engine import fit_stack
from pima_hp.training.fused.tables import NARROW, WIDE
from pima_hp.training.fused.vector import Lanes, load, store
from tests.training.conftest import RunsOf, alone, dispatched, ended

EXTREMES = [np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0, -0.0, 1e-30, -1e-30, 88.0, -88.0, 6.0, -6.0, 1.0, -1.0, 0.5]
CASES = {
    "exp": (np.exp, (-80, 80), 2),
    "expm1": (np.expm1, (-80, 80), 2),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), (-80, 80), 3),
    "tanh": (np.tanh, (-20, 20), 3),
    "erf": (None, (-8, 8), 3),
    "log1p_unit": (np.log1p, (0, 1), 3),
}


def applied(name, x):
    function, kind = getattr(functions, name), types.CPointer(Lanes(getattr(types, str(x.dtype)), WIDE))

    @intrinsic
    def rows(_typing, address):
        return kind(address), lambda context, builder, _, args: builder.inttoptr(args[0], context.get_value_type(kind))

    @njit
    def every_row(x, out, n_rows):
        for row in range(n_rows):
            store(rows(out), row, function(load(rows(x), row)))

    out = np.empty_like(x)
    every_row(x.ctypes.data, out.ctypes.data, len(x) // WIDE)
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_functions_are_right_to_a_few_units_in_the_last_place(name, dtype):
    reference, (low, high), ulps = CASES[name]
    x = np.concatenate([np.linspace(low, high, 8000), np.linspace(low, high, 8000) * 1e-5]).astype(dtype)
    expected = torch.erf(torch.from_numpy(x).double()).numpy() if name == "erf" else reference(x.astype(np.longdouble))
    error = np.abs(applied(name, x) - expected) / np.maximum(np.abs(expected), np.finfo(dtype).tiny)
    assert float(error.max()) <= ulps * np.finfo(dtype).eps


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "erf"])
def test_functions_at_the_ends_of_the_numbers(name):
    found = applied(name, np.array(EXTREMES))
    expected = getattr(torch, name)(torch.tensor(EXTREMES)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-300 if name != "sigmoid" else 1e-37)


@pytest.mark.parametrize("group", ["activation", "optimizer", "scheduler", "batch"])
def test_every_option_has_a_row(runs_of: RunsOf, group: str):
    for option in options(group):
        assert why_not("fused", runs_of(f"{group}={option}")[0].config) == "", option


def test_a_large_network_is_left_to_torch(runs_of: RunsOf):
    (run,) = runs_of("model.hidden_widths=[4096,4096]", "batch=full")
    assert select(run.config) == "stacked"
    assert "too large" in why_not("fused", run.config)


SHUFFLED = ["batch.shuffle=true", "optimizer=nadam", "activation=gelu"]


@pytest.mark.parametrize("n_threads", [2, 3, 8])
def test_the_number_of_threads_does_not_change_a_bit(runs_of: RunsOf, n_threads: int) -> None:
    runs = runs_of(f"n_replicates={4 * WIDE + 1}", *SHUFFLED)
    stacks = [CPUStack(runs, n) for n in (1, n_threads)]
    for stack in stacks:
        stack.fit()
    for name, curve in stacks[0].curves.items():
        np.testing.assert_array_equal(stacks[1].curves[name], curve)


@pytest.mark.parametrize("overrides", [[], SHUFFLED], ids=",".join)
def test_the_number_of_lanes_does_not_change_a_bit(runs_of: RunsOf, overrides: list[str]):
    runs = runs_of(f"n_replicates={NARROW + 1}", *overrides)
    wide, narrow = CPUStack(runs, 1), CPUStack(runs[:NARROW], 1)
    assert (wide.lanes, narrow.lanes) == (WIDE, NARROW)
    for stack in (wide, narrow):
        stack.fit()
    assert torch.equal(wide.vectors[:NARROW], narrow.vectors)
    for name, curve in narrow.curves.items():
        np.testing.assert_array_equal(wide.curves[name][:NARROW], curve, err_msg=name)


def test_without_a_compiler_torch_trains_and_says_so(runs_of: RunsOf, cache, monkeypatch, caplog, tmp_path):
    runs = runs_of("n_replicates=2")
    (tmp_path / "numba.py").write_text("raise ImportError('no numba in this test')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)  # of the process that compiles, too
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            (results,) = dispatched(runs)
        assert results.engine == "stacked"
    said = [record.message for record in caplog.records if "no kernel for" in record.message]
    assert said[0].endswith("ImportError: no numba in this test")
    with pytest.raises(EngineError, match="allowed here: auto, solo"):
        stacks_of(runs, engine="fused")


PLATEAU = "scheduler=plateau_half scheduler.patience=0 scheduler.threshold=0.5"
SCHEDULERS = [
    *("none", "step scheduler.step_size=2", "cosine", PLATEAU, f"{PLATEAU} scheduler.threshold_mode=rel"),
    "ConstantLR +scheduler.total_iters=2", "LinearLR +scheduler.total_iters=3", "ExponentialLR +scheduler.gamma=0.7",
    "PolynomialLR +scheduler.power=2.0", "MultiStepLR +scheduler.milestones=[1,4]",
    "CosineAnnealingWarmRestarts +scheduler.T_0=2",
    "CyclicLR +scheduler.base_lr=0.01 +scheduler.max_lr=0.1 +scheduler.step_size_up=2",
]  # fmt: skip


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_learning_rate_of_each_epoch_is_a_curve_and_that_of_solo(runs_of: RunsOf, scheduler: str) -> None:
    """Bit for bit, whatever scheduler of torch; each member has a rate of its own."""
    name, *arguments = scheduler.removeprefix("scheduler=").split()
    own = [f"scheduler={name}"]
    if name.endswith(("LR", "Restarts")):
        own = ["scheduler=step", "~scheduler.step_size", "~scheduler.gamma"]
        own += [f"scheduler._target_=torch.optim.lr_scheduler.{name}"]
        own += ["+scheduler.cycle_momentum=false"] if name == "CyclicLR" else []
    overrides = [*own, *arguments, "trainer.max_epochs=6", "optimizer=adam"]
    runs = [run for rate in (0.001, 0.01) for run in runs_of(*overrides, f"optimizer.lr={rate}")]
    rates = fit_stack(runs).curves["lr"]
    assert (len(np.unique(rates[0])) > 1) is (scheduler != "none")
    for run, of_run in zip(runs, rates, strict=True):
        assert np.array_equal(alone(run).curves["lr"][0], of_run)


def test_the_learning_rate_of_a_run_that_diverges_ends_with_its_other_curves(runs_of: RunsOf) -> None:
    (run,) = runs_of("optimizer=sgd", "optimizer.lr=1e30", "activation=identity", "trainer.max_epochs=4")
    results = fit_stack([run])
    assert ended(results)[0] == "diverged"
    assert np.array_equal(np.isnan(results.curves["lr"]), np.isnan(results.curves["val/loss"]))
    assert all(np.isnan(score).all() for score in results.scores.values())


def test_denormals_are_flushed_in_the_kernel_alone(runs_of: RunsOf):
    (run,) = runs_of()
    CPUStack([run], 1).fit()
    assert read_table(run.config.data) is not None
    assert float(torch.tensor(1e-40) * 0.5) != 0.0


@pytest.mark.parametrize(("precision", "expected"), [(32, np.inf), (64, 1e39 / 24)])
def test_a_loss_whose_sum_overflows_in_solo_is_infinite(runs_of: RunsOf, precision: int, expected: float) -> None:
    """Solo adds up in the run's own precision, the kernel in double: found by a random search, `val/loss` near 1e37."""
    (run,) = runs_of(f"trainer.precision={precision}", "trainer.max_epochs=1")
    stack = CPUStack([run], 1, loaded=lambda **_: None)
    real = stack.zeros
    stack.zeros = lambda *shape: real(*shape) + 1e39 * (shape[-1] is torch.float64)
    stack.train_epochs()
    assert float(stack.curves["val/loss"][0, 0]) == pytest.approx(expected)
