"""Labels of runs and rows of settings, from curves and diagnostics whose truth is planted."""

import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.curves import plateau_length
from pima_hp.analysis.labels import by_setting, labels_of
from tests.analysis.conftest import study

RATE = 214 / 614
ENTROPY = -(RATE * np.log(RATE) + (1 - RATE) * np.log(1 - RATE))
FLAT = np.full(100, ENTROPY)
LEARNED = np.concatenate([np.linspace(ENTROPY, 0.5, 60), np.full(40, 0.5)])
LAYERS = [f"initial/gradient_norm/layer{k}" for k in (1, 2, 3)]


def runs_of(losses: list[np.ndarray], accuracy: float = 0.75, **columns: list[object]) -> pd.DataFrame:
    """Runs with these losses, one accuracy in all epochs, and more columns."""
    frame = study([({}, np.array(losses))])
    frame["train/accuracy_end"] = [np.full(100, accuracy)] * len(losses)
    return frame.assign(**{key.replace("__", "/"): values for key, values in columns.items()})


def test_a_loss_that_falls_beyond_its_noise_is_still_improving_and_one_that_does_not_has_settled() -> None:
    rng = np.random.default_rng(1)
    falling, noise = np.linspace(0.6, 0.4, 100), rng.normal(0, 0.02, 100)
    slow = np.linspace(0.5, 0.4999, 100)  # without noise, but by less than 0.001 nats in 20 epochs
    found = labels_of(runs_of([falling, falling + noise / 10, LEARNED + noise, slow, LEARNED[::-1] * 0.7]))
    assert found.tolist() == ["still improving", "still improving", "settled", "settled", "settled"]


def test_a_run_at_the_majority_has_collapsed_unless_its_loss_says_that_it_learns() -> None:
    majority = 1 - RATE
    assert labels_of(runs_of([FLAT, LEARNED], majority)).tolist() == ["collapsed to the majority", "settled"]
    assert labels_of(runs_of([FLAT], majority + 2 / 614)).tolist() == ["settled"]


def test_runs_that_end_before_their_last_epoch_have_labels_of_their_own() -> None:
    frame = study([({}, np.array([LEARNED] * 3))], {(0, 1): "diverged", (0, 2): "failed"})
    assert labels_of(frame).tolist() == ["settled", "diverged", "failed"]


def test_dead_and_saturated_need_diagnostics() -> None:
    ones, some = np.ones(100), np.linspace(1, 0.4, 100)  # after the last epoch: 1, 0.4
    dead = {"diagnostics__dead_units__layer1": [some] * 2, "diagnostics__dead_units__layer2": [ones, some]}
    assert labels_of(runs_of([FLAT, FLAT], 1 - RATE, **dead)).tolist() == ["dead", "collapsed to the majority"]
    leaky = runs_of([FLAT], 1 - RATE, diagnostics__dead_units__layer1=[ones]).assign(activation="leaky_relu")
    assert labels_of(leaky).tolist() == ["collapsed to the majority"], "its units pass gradients at any z"
    saturated = {"diagnostics__saturation__layer1": [ones, ones, some]}
    found = labels_of(runs_of([FLAT, LEARNED, FLAT], 1 - RATE, **saturated))
    assert found.tolist() == ["saturated", "settled", "collapsed to the majority"]


def test_the_plateau_ends_in_the_first_epoch_with_a_loss_below_the_entropy_less_0_02() -> None:
    table = np.array([[ENTROPY, ENTROPY - 0.02, ENTROPY - 0.021], [0.7, 0.7, 0.7]])
    assert plateau_length(table, np.full(2, RATE)).tolist() == [3, np.inf]


def test_a_row_of_a_setting_has_its_share_gradients_and_counts() -> None:
    norms = {LAYERS[0]: [0.0, 0.04], LAYERS[1]: [0.1, 0.1], LAYERS[2]: [0.2, 0.2]}
    tanh = runs_of([FLAT, LEARNED], 1 - RATE).assign(**norms)
    relu = runs_of([LEARNED, LEARNED]).assign(**{key: [0.2, 0.2] for key in LAYERS})
    table = by_setting({("tanh", "none"): tanh, ("relu", "none"): relu}, ["activation", "data.scaling"])
    first = table.iloc[0]
    assert first["first_gradient"] == pytest.approx(0.02)  # a median: one may be 0
    assert (first["over_last"], first["over_relu"]) == pytest.approx((0.1, 0.1))
    assert (first["share_that_learns"], first["n_runs"], first["collapsed to the majority"]) == (0.5, 2, 1)
    assert table["median_plateau"].tolist() == [np.inf, 1 + np.argmax(LEARNED < ENTROPY - 0.02)]
    assert "diverged" not in table, "labels without a run are left out"


def test_without_diagnostics_a_row_has_no_gradients() -> None:
    table = by_setting({("relu",): runs_of([LEARNED])}, ["activation"])
    assert not {"first_gradient", "over_last", "over_relu"} & {*table}
