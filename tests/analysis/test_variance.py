"""Components of variance: exact against mean squares, planted components recovered, coverage of their shares."""

import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.variance import budgets, components, crossed, shares, subsets
from tests.analysis.grids import SCORE, frame_of

COMPONENTS = subsets(3)[1:]
SPREADS = {"split": [0.03, 0.005, 0.001, 0.01, 0.002, 0.002, 0.015], "even": [0.02, 0.02, 0.02, 0.01, 0.01, 0.01, 0.02]}


def simulated(rng, spreads, shape):
    """Scores (split, initialization, order) with normal components of these standard deviations."""
    sizes = [[shape[axis] if axis in of else 1 for axis in range(3)] for of in COMPONENTS]
    return sum(spread * rng.normal(size=size) for spread, size in zip(spreads, sizes, strict=True))


def whole(shape):
    return [np.ones((1, size)) for size in shape]


def seeds_crossed(frame, shape):
    """The frame with the seeds of a crossed design, the last stream fastest."""
    places = np.indices(shape).reshape(3, -1)
    n = len(frame) // places.shape[1]
    names = ("split_seed", "init_seed", "order_seed")
    return frame.assign(seed=0, **{name: np.tile(of, n) for name, of in zip(names, places, strict=True)})


def study(rng, shape=(5, 6, 7), settings=({},), shuffle=True):
    values = 0.7 + np.stack([simulated(rng, SPREADS["even"], shape) for _ in settings])
    own = [{"batch.shuffle": shuffle, **of} for of in settings]
    return seeds_crossed(frame_of(own, values.reshape(len(settings), -1)), shape), values


def test_components_are_those_of_the_mean_squares():
    values = np.random.default_rng(0).normal(size=(6, 4, 5))
    effects, squares = {}, {}
    for of in subsets(3):
        others = tuple(axis for axis in range(3) if axis not in of)
        effects[of] = values.mean(axis=others, keepdims=True) - sum(
            part for key, part in effects.items() if {*key} < {*of}
        )
        freedom = np.prod([values.shape[axis] - 1 for axis in of])
        squares[of] = (effects[of] ** 2).sum() * np.prod([values.shape[axis] for axis in others]) / freedom
    rest = squares[0, 1, 2]
    main = (squares[0,] - squares[0, 1] - squares[0, 2] + rest) / (4 * 5)
    found = dict(zip(COMPONENTS, components(values, whole(values.shape))[0], strict=True))
    assert found[0, 1, 2] == pytest.approx(rest, abs=1e-12)
    assert found[0, 2] == pytest.approx((squares[0, 2] - rest) / 4, abs=1e-12)
    assert found[0,] == pytest.approx(main, abs=1e-12)


def test_a_seed_that_a_resample_lacks_is_as_if_it_had_not_been_there():
    values = np.random.default_rng(0).normal(size=(5, 4, 6))
    weights = whole(values.shape)
    weights[0][0, 2] = weights[2][0, 5] = 0
    part = np.delete(values[:, :, :5], 2, axis=0)
    np.testing.assert_allclose(components(values, weights), components(part, whole(part.shape)), atol=1e-12)


def test_two_streams_have_three_components():
    values = np.arange(4.0)[:, None] + np.zeros(3)
    assert components(values, whole((4, 3)))[0] == pytest.approx([np.var(np.arange(4), ddof=1), 0, 0], abs=1e-12)


@pytest.mark.parametrize("name", SPREADS)
def test_planted_components_are_recovered_on_average(name):
    rng, shape = np.random.default_rng(0), (20, 20, 5)  # seed 0
    found = np.array([components(simulated(rng, SPREADS[name], shape), whole(shape))[0] for _ in range(100)])
    error = found.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - np.square(SPREADS[name])) < 4 * error).all()


@pytest.mark.parametrize(("n_simulations", "error"), [(40, 0.1), pytest.param(600, 0.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SPREADS)
def test_intervals_of_the_shares_cover_the_truth(name, n_simulations, error):
    rng, truth = np.random.default_rng(0), np.square(SPREADS[name]) / np.sum(np.square(SPREADS[name]))
    tables = [shares(simulated(rng, SPREADS[name], (20, 20, 5)), rng, 200) for _ in range(n_simulations)]
    covered = np.mean([of["lower"].le(truth) & of["upper"].ge(truth) for of in tables], axis=0)
    total = np.sum(np.square(SPREADS[name]))
    of_total = np.mean([of["total_lower"][0] <= total <= of["total_upper"][0] for of in tables])
    assert (np.append(covered, of_total) >= 0.91 - error).all(), (covered, of_total)


def test_crossed_streams_are_found_whatever_the_order_of_the_runs():
    frame, values = study(np.random.default_rng(0))
    streams, found = crossed(frame.sample(frac=1, random_state=0).sort_values("split_seed"), SCORE)
    assert streams == ["split", "initialization", "order"]
    np.testing.assert_allclose(components(found, whole(found.shape)), components(values[0], whole(found.shape)))


def test_streams_that_vary_together_are_one():
    frame, _ = study(np.random.default_rng(0), (5, 6, 6))
    streams, found = crossed(frame[frame["init_seed"] == frame["order_seed"]], SCORE)
    assert (streams, found.shape) == (["split", "initialization and order"], (5, 6))


def test_the_order_is_no_stream_where_rows_are_not_shuffled():
    frame, _ = study(np.random.default_rng(0), shuffle=False)
    table = budgets(frame, SCORE, np.random.default_rng(0))
    assert table["component"].tolist() == ["split", "initialization", "rest"]


@pytest.mark.parametrize("change", ["missing", "few", "diverged", "flat", "replicates"])
def test_without_a_complete_crossing_there_is_no_budget(change):
    frame, _ = study(np.random.default_rng(0), (4, 6, 7) if change == "few" else (5, 6, 7))
    if change == "missing":
        frame = frame.iloc[1:]
    if change == "diverged":
        frame["val/accuracy"] = [np.array([np.nan]), *frame["val/accuracy"].iloc[1:]]
    if change == "flat":
        frame["val/accuracy"] = [np.array([0.7])] * len(frame)
    if change == "replicates":
        frame = frame.assign(**dict.fromkeys(("split_seed", "init_seed", "order_seed"), range(len(frame))))
    assert budgets(frame, SCORE, np.random.default_rng(0)).empty


def test_a_difference_is_that_of_the_paired_scores():
    frame, values = study(np.random.default_rng(0), settings=({}, {"optimizer": "adam"}))
    frame = frame.iloc[[*range(210), *np.random.default_rng(0).permutation(210) + 210]]  # the second in another order
    table = budgets(frame, SCORE, np.random.default_rng(0)).set_index(["configuration", "component"])
    assert [*table.index.unique(0)] == ["base", "adam", "adam minus base"]
    found = components(values[1] - values[0], whole((5, 6, 7)))[0].clip(min=0)
    np.testing.assert_allclose(table.loc["adam minus base", "variance"], found, atol=1e-12)
    np.testing.assert_allclose(table.groupby(level=0)["share"].sum(), 1)


def test_configurations_with_other_seeds_are_not_paired():
    frame, _ = study(np.random.default_rng(0), settings=({}, {"optimizer": "adam"}))
    frame.loc[frame.index >= 210, "split_seed"] += 1
    assert [*budgets(frame, SCORE, np.random.default_rng(0))["configuration"].unique()] == ["base", "adam"]


def test_configurations_of_one_name_stay_apart():
    frame, _ = study(np.random.default_rng(0), settings=({}, {"activation.alpha": 0.1}))
    names = budgets(frame, SCORE, np.random.default_rng(0))["configuration"].unique()
    assert [*names] == ["base", "base (c1)", "base (c1) minus base"]


def test_configurations_that_are_not_crossed_do_not_take_the_place_of_others():
    rng = np.random.default_rng(0)
    frame, _ = study(rng, settings=({}, {"optimizer": "adam"}))
    plain = frame_of(
        [{"batch.shuffle": True, "data.scaling": f"s{n}"} for n in range(7)], rng.normal(0.7, 0.01, (7, 9))
    )
    plain["config_id"] += "-plain"
    plain["run_id"] += "-plain"
    found = budgets(pd.concat([plain, frame], ignore_index=True), SCORE, rng)
    assert {*found["configuration"]} == {"base", "adam", "adam minus base"}
