"""Solo training: the definition of what a run is."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pima_hp.config.build import build
from pima_hp.data.datamodule import PimaDataModule
from pima_hp.model.mlp import MLP
from pima_hp.run import CURVES, Run
from pima_hp.seeds import Role, seeded
from pima_hp.training.solo import fit
from tests.training.conftest import alone, ended, run_of, same_bits, scores_of


@pytest.mark.parametrize("overrides", [(), ("batch.shuffle=true", "optimizer=adam", "data=pima_honest", "seed=5")])
def test_the_same_configuration_and_seed_gives_the_same_bits(overrides: tuple[str, ...]) -> None:
    run = run_of("trainer.max_epochs=3", "batch=b32", *overrides)
    torch.manual_seed(1)
    first = alone(run)
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    assert same_bits(first, alone(run))
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator is left as it was"
    assert not same_bits(first, alone(run_of("trainer.max_epochs=3", "batch=b32", *overrides, "seed=6")))


def by_hand(run: Run, n_epochs: int, *, clip: float = math.inf, accumulate: int = 1) -> dict[str, list[float]]:
    """The curves of a plain loop in double precision, batch 16."""
    data = PimaDataModule(seeds=run.seeds, dtype=torch.float64)
    torch.set_default_dtype(torch.float64)
    with seeded(run.seeds.init, Role.INIT):
        model = MLP(8, [12, 8], build(run.config.activation.node, torch.nn.Module))
    torch.set_default_dtype(torch.float32)
    optimizer = build(run.config.optimizer.node, torch.optim.Optimizer, model.parameters())
    curves: dict[str, list[float]] = {key: [] for key in CURVES if key != "lr"}
    (features, labels), watched = data.tensors("train"), data.tensors("val")
    starts = list(range(0, 614, 16))
    for _ in range(n_epochs):
        n_right, summed_loss = 0, 0.0
        for place, start in enumerate(starts):
            batch = slice(start, start + 16)
            logits = model(features[batch])
            loss = F.binary_cross_entropy_with_logits(logits, labels[batch])
            n_right += int(((logits > 0) == (labels[batch] > 0.5)).sum())
            summed_loss += float(loss.detach()) * len(labels[batch])
            (loss / accumulate).backward()
            if (place + 1) % accumulate == 0 or start == starts[-1]:
                if clip < math.inf:
                    torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimizer.step()
                optimizer.zero_grad()
        curves["train/accuracy"].append(n_right / 614)
        curves["train/loss"].append(summed_loss / 614)
        with torch.no_grad():
            for suffix, (rows, truth) in {"train/{}_end": (features, labels), "val/{}": watched}.items():
                logits = model(rows)
                right = ((logits > 0) == (truth > 0.5)).double().mean()
                curves[suffix.format("accuracy")].append(float(right))
                curves[suffix.format("loss")].append(float(F.binary_cross_entropy_with_logits(logits, truth)))
    return curves


HAND = ("trainer.max_epochs=3", "trainer.precision=64-true", "optimizer=adam", "optimizer.lr=0.01", "batch=b16")


@pytest.mark.parametrize(
    ("overrides", "how", "n_updates"),
    [
        ((), {}, 39),
        (("+trainer.gradient_clip_val=0.05",), {"clip": 0.05}, 39),
        (("+trainer.accumulate_grad_batches=4",), {"accumulate": 4}, 10),
    ],
    ids=["plain", "clipping", "accumulation"],
)
def test_the_curves_are_what_a_loop_by_hand_gives(overrides: tuple[str, ...], how: Any, n_updates: int) -> None:
    run = run_of(*HAND, *overrides)
    results = alone(run)
    expected = by_hand(run, 3, **how)
    for key, curve in expected.items():
        # float64; sums are made in another order
        np.testing.assert_allclose(results.curves[key][0], curve, rtol=1e-11, err_msg=key)
    assert (results.curves["lr"] == 0.01).all()
    assert ended(results) == ("completed", 0, 3 * n_updates)
    assert results.scores["val/accuracy"] == results.curves["val/accuracy"][:, -1]
    assert results.scores["train/loss"] == pytest.approx(results.curves["train/loss_end"][:, -1], rel=1e-12)
    if how:
        assert results.curves["val/loss"][0].tolist() != pytest.approx(by_hand(run, 3)["val/loss"], rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_optimizers_own_scalars_are_as_precise_as_the_weights(dtype: torch.dtype) -> None:
    """NAdam's running product in single precision would move a training in double precision by 1e-8."""
    precision = {torch.float32: "32-true", torch.float64: "64-true"}[dtype]
    _, module = fit(run_of("trainer.max_epochs=1", "batch=full", "optimizer=nadam", f"trainer.precision={precision}"))
    (optimizer,) = module.trainer.optimizers
    assert {state["mu_product"].dtype for state in optimizer.state.values()} == {dtype}
    assert torch.get_default_dtype() == torch.float32


SCHEDULES = {
    "step": (("scheduler=step", "scheduler.step_size=2"), [0.01, 0.01, 0.001, 0.001]),
    "cosine": (("scheduler=cosine",), [0.01 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(4)]),
    "plateau": (
        ("scheduler=plateau_half", "scheduler.patience=0", "scheduler.threshold=10"),
        [0.01, 0.01, 0.005, 0.0025],
    ),
    "plateau of training": (
        ("scheduler=plateau_half", "scheduler.patience=1", "scheduler.threshold=10", "scheduler.monitor=train/loss"),
        [0.01, 0.01, 0.01, 0.005],
    ),
}


@pytest.mark.parametrize(("overrides", "rates"), SCHEDULES.values(), ids=SCHEDULES)
def test_the_rate_of_each_epoch_is_that_of_its_schedule(overrides: tuple[str, ...], rates: list[float]) -> None:
    results = alone(run_of("trainer.max_epochs=4", "batch=b32", "optimizer.lr=0.01", *overrides))
    assert results.curves["lr"][0].tolist() == pytest.approx(rates, rel=1e-12)


def test_a_plateau_sees_the_loss_as_it_is_not_rounded() -> None:
    overrides = (
        "trainer.max_epochs=3",
        "batch=full",
        "optimizer=sgd",
        "optimizer.lr=1e-9",
        "trainer.precision=64-true",
    )
    results = alone(run_of(*overrides, "scheduler=plateau_half", "scheduler.patience=0", "scheduler.threshold=0.0"))
    losses = results.curves["val/loss"][0]
    assert (np.diff(losses) < 0).all()
    assert len(set(np.float32(losses))) < 3, "rounded, it would not fall"
    assert (results.curves["lr"] == 1e-9).all()


WILD = ("optimizer=sgd", "trainer.max_epochs=5", "batch=b32", "activation=identity")


def test_a_run_that_diverges_says_so_and_invents_no_number() -> None:
    results = alone(run_of(*WILD, "optimizer.lr=1e30"))
    assert ended(results) == ("diverged", 1, 20)
    assert scores_of(results) == {}
    for curve in results.curves.values():
        assert curve.shape == (1, 5)
        assert np.isnan(curve).all()
    later = alone(
        run_of(*WILD, "optimizer.lr=4", "trainer.max_epochs=30", "model.hidden_widths=[4,4,4]",
               "model.initialization=he_normal", "data.scaling=standard", "seed=1")
    )  # fmt: skip
    status, stop_epoch, n_updates = ended(later)
    assert (status, n_updates) == ("diverged", stop_epoch * 20)
    for curve in later.curves.values():
        assert np.isfinite(curve[0, : stop_epoch - 1]).all()
        assert np.isnan(curve[0, stop_epoch - 1 :]).all()


def test_validation_rows_of_their_own_leave_the_test_rows_for_the_end() -> None:
    results = alone(run_of("data=pima_honest", "trainer.max_epochs=2", "batch=full"))
    assert {key.partition("/")[0] for key in results.scores} == {"train", "val", "test"}
    watched = alone(run_of("data=pima", "trainer.max_epochs=2", "batch=full"))
    assert {key.partition("/")[0] for key in watched.scores} == {"train", "val"}
    assert {key.partition("/")[2] for key in watched.scores} == {"accuracy", "loss", "auroc", "f1", "brier"}


def test_weights_that_are_lost_in_an_epoch_cut_short_are_a_divergence() -> None:
    results, _ = fit(run_of(*WILD, "optimizer.lr=1e30"), max_steps=1)
    assert ended(results) == ("diverged", 1, 1)
    assert scores_of(results) == {}
