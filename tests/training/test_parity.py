"""Member m of a stack equals the solo run, for every option of conf/ that decides how a run is trained.

Each option of each group is tried against the defaults, and 40 combinations of activation, optimizer,
scheduler, batch, order and initialisation are drawn once and for all by a fixed seed: the full product has
thousands. Schedules are made to act within the three epochs of these trainings.
"""

import numpy as np
import pytest
import torch

from pima_hp.config.options import options
from pima_hp.training.fused.engine import make_stack
from pima_hp.training.solo import datamodule_of, module_of
from tests.conftest import settings_of
from tests.networks import vectors_of
from tests.random_configurations import INITIALIZATIONS
from tests.training.conftest import ENGINES, MODULES, RunsOf, alone, assert_parity, ended, together

GROUPS = ("activation", "optimizer", "scheduler", "batch", "data", "model")
SHORT = ("trainer.max_epochs=3", "trainer.precision=64", "n_replicates=2", "seed=3")
FLOAT32 = ("trainer.max_epochs=1", "n_replicates=2", "data.scaling=standard", "batch=full")


def combinations(n: int) -> list[str]:
    rng = np.random.default_rng(20240607)
    axes = [[f"{group}={option}" for option in options(group)] for group in GROUPS[:4]]
    axes += [[f"model.initialization={name}" for name in INITIALIZATIONS]]
    # On raw features a saturated network gives many rows one logit up to rounding, and AUROC depends on that.
    axes += [["batch.shuffle=false", "batch.shuffle=true"], ["data.scaling=minmax", "data.scaling=standard"]]
    return [" ".join(rng.choice(axis) for axis in axes) for _ in range(n)]


CASES = [f"{group}={option}" for group in GROUPS for option in options(group)]
CASES += [f"model.initialization={name}" for name in INITIALIZATIONS]
CASES += ["batch.shuffle=true", "model.hidden_widths=[5]", "model.hidden_widths=[7,6,3]", "data.scaling=minmax"]
CASES += combinations(40)
# What the defaults hide: terms that are zero, shares of an average above a half, softplus beyond its threshold of 20.
CASES += [f"optimizer={option} optimizer.weight_decay=0.1 data=pima_standardized" for option in options("optimizer")]
SIGNS = "optimizer=adam optimizer.betas=[0.0,0.0] optimizer.eps=1e-12"  # each step is the sign of the gradient
CASES += [f"{SIGNS} data=pima activation=silu batch.size=7 model.initialization=he_normal"]
CASES += ["activation=softplus data=pima model.initialization=he_normal optimizer=sgd"]


def made_to_act(case: str) -> list[str]:
    """Overrides with which a schedule changes the rate within three epochs."""
    overrides = case.split(" ")
    for override in overrides:
        if override.startswith("scheduler="):
            arguments = settings_of(override)["scheduler"]
            acting = {"patience": "0", "threshold": "10.0", "step_size": "1"}
            overrides = [*overrides, *(f"scheduler.{name}={acting[name]}" for name in acting if name in arguments)]
    return overrides


@pytest.mark.parametrize("case", CASES)
def test_each_member_equals_its_solo_run_in_double_precision(runs_of: RunsOf, case: str) -> None:
    runs = runs_of(*SHORT, *made_to_act(case))
    plateau = "scheduler=plateau" in case  # of which each member of a stack would need a rate of its own
    able = [engine for engine in ENGINES if not MODULES[engine].why_not(runs[0].config)]
    assert able == (["fused"] if plateau else ["fused", "stacked"])
    expected = [alone(run) for run in runs]
    assert {ended(solo)[0] for solo in expected} == {"completed"}
    for engine in able:
        for found, solo in zip(together(runs, engine), expected, strict=True):
            assert_parity(found, solo, rtol=1e-9)


@pytest.mark.parametrize("name", INITIALIZATIONS)
def test_the_initial_weights_are_bit_equal_in_single_precision(runs_of: RunsOf, name: str) -> None:
    runs = runs_of("n_replicates=3", f"model.initialization={name}")
    stack = make_stack(runs, 1)
    for index, run in enumerate(runs):
        data = datamodule_of(run.config, run.seeds)
        assert torch.equal(
            stack.vectors[index], vectors_of(module_of(run.config, data.n_features, run.seeds.init).model)
        )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("choice", [f"{group}={option}" for group in GROUPS[:2] for option in options(group)])
def test_the_first_step_agrees_in_single_precision(runs_of: RunsOf, engine: str, choice: str) -> None:
    runs = runs_of(*FLOAT32, choice)
    for record, run in zip(together(runs, engine), runs, strict=True):
        # one update of all rows; a sum of 96 float32 numbers in another order
        solo = alone(run)
        for key in ("train/loss", "train/loss_end", "val/loss"):
            np.testing.assert_allclose(record.curves[key], solo.curves[key], rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_float32_stays_near_solo_over_a_short_training(runs_of: RunsOf, engine: str) -> None:
    runs = runs_of("trainer.max_epochs=10", "n_replicates=10", "optimizer=adam", "data.scaling=standard")
    ends = [
        [record.curves["val/loss"][0, -1] for record in records]
        for records in (together(runs, engine), map(alone, runs))
    ]
    # rounding grows with the steps: 100 of Adam
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_final_accuracies_of_200_seeds_have_one_distribution(runs_of: RunsOf, engine: str) -> None:
    stats = pytest.importorskip("scipy.stats")
    overrides = ("trainer.max_epochs=50", "n_replicates=200", "optimizer=adam", "optimizer.lr=0.01", "batch=b16")
    runs = runs_of(*overrides, "data.scaling=standard")
    stacked = [record.curves["val/accuracy"][0, -1] for record in together(runs, engine)]
    solo = [alone(run).curves["val/accuracy"][0, -1] for run in runs]
    # Kolmogorov and Smirnov's test at 1 %; and the means within a hundredth
    assert stats.ks_2samp(stacked, solo, method="asymp").pvalue > 0.01
    assert np.mean(stacked) == pytest.approx(np.mean(solo), abs=0.01)
