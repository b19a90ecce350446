import numpy as np
import pytest
from scipy import stats

from pima_hp.analysis.best import rank
from tests.analysis.grids import SCORE, frame_of

SIZES = [5, 10, 16, 32]


def ranking(scores: np.ndarray):
    rates = [{"optimizer.lr": 0.001 * (n + 1)} for n in range(len(scores))]
    found = rank(frame_of(rates, scores), SCORE)
    assert found is not None
    return found


def noisy(means: list[float], n_replicates: int = 12, sd: float = 0.02, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (
        np.array(means)[:, None]
        + 0.05 * rng.normal(size=n_replicates)
        + sd * rng.normal(size=(len(means), n_replicates))
    )


def test_configurations_are_ranked_by_mean_and_compared_with_the_best_in_pairs() -> None:
    scores = noisy([0.75, 0.745, 0.65, 0.70])
    found = ranking(scores)
    assert [*found.table.index] == [f"c{n}" for n in np.argsort(-scores.mean(axis=1))]
    assert found.factors == ["optimizer.lr"]
    row = found.table.loc["c2"]
    interval = stats.t.interval(0.95, 11, scores[2].mean(), stats.sem(scores[2]))
    assert (row["lower"], row["upper"]) == pytest.approx(interval, abs=1e-9)
    best = int(found.table.index[0][1:])
    p = sorted(stats.ttest_rel(scores[best], other).pvalue for n, other in enumerate(scores) if n != best)
    holm = np.maximum.accumulate(np.minimum(1, np.array(p) * [3, 2, 1]))
    assert found.table["p"].dropna().sort_values().to_numpy() == pytest.approx(holm, rel=1e-9)
    assert [*found.rivals.index] == [*found.table.index[found.table["p"] > 0.05]]


def test_a_configuration_with_a_diverged_run_is_never_the_best() -> None:
    scores = noisy([0.70, 0.90, 0.65])
    scores[1, 4] = np.nan
    found = ranking(scores)
    assert found.table.index[0] == "c0"
    assert found.table.loc["c1", "n_diverged"] == 1
    assert np.isnan(found.table.loc["c1", "mean"])


def test_a_lucky_single_run_of_an_interrupted_study_is_not_the_best() -> None:
    frame = frame_of([{"batch.size": size} for size in SIZES], noisy([0.70, 0.69, 0.68, 0.95]))
    found = rank(frame[(frame["config_id"] != "c3") | (frame["seed"] < 2)], SCORE)
    assert found is not None
    assert found.table.index[0] == "c0"
    assert found.table.loc["c3", "n_runs"] == 2


def test_one_replicate_has_a_best_and_no_interval() -> None:
    found = ranking(noisy([0.70, 0.75, 0.72], n_replicates=1))
    assert found.table.index[0] == "c1"
    assert found.table[["lower", "upper", "p"]].isna().all(axis=None)
    assert found.rivals.empty
    assert np.isnan(found.by_halves)


def test_runs_without_any_score_have_no_best() -> None:
    assert rank(frame_of([{"batch.size": 5}, {"batch.size": 10}], np.full((2, 3), np.nan)), SCORE) is None


def test_equal_configurations_may_all_be_the_best() -> None:
    found = ranking(np.tile(np.linspace(0.7, 0.75, 6), (3, 1)))
    assert found.table["p"].dropna().tolist() == [1, 1]


def test_the_share_of_runs_that_left_the_majority_class_is_counted() -> None:
    table = ranking(np.array([[0.66, 0.66, 0.75, 0.68], [0.65, 0.65, 0.65, 0.65]])).table  # majority 0.65
    assert table["share_off_majority"].to_dict() == {"c0": 0.5, "c1": 0}


def test_choosing_by_one_half_of_the_seeds_and_judging_by_the_other_is_not_flattering() -> None:
    """20 equal configurations, 40 simulated studies: the best one's mean is too high, that of the halves is not."""
    rng = np.random.default_rng(0)
    frame = frame_of([{"optimizer.lr": 0.001 * (n + 1)} for n in range(20)], np.full((20, 10), 0.7))
    flattered, judged = [], []
    for _ in range(40):
        frame["val/accuracy"] = [np.array([score]) for score in 0.7 + 0.03 * rng.normal(size=200)]
        found = rank(frame, SCORE)
        assert found is not None
        flattered.append(found.table["mean"].iloc[0])
        judged.append(found.by_halves)
    assert np.mean(flattered) > 0.71
    assert np.mean(judged) == pytest.approx(0.7, abs=0.006)


def test_the_truly_best_configuration_is_rarely_excluded() -> None:
    """It is in the confidence set for the best in at least 95 % of 40 simulated studies of 10 replicates."""
    rng, kept = np.random.default_rng(0), []
    means = 0.7 + 0.002 * np.arange(20)[::-1]
    frame = frame_of([{"optimizer.lr": 0.001 * (n + 1)} for n in range(20)], np.full((20, 10), 0.7))
    for _ in range(40):
        scores = means[:, None] + 0.02 * rng.normal(size=(20, 10))
        frame["val/accuracy"] = [np.array([score]) for score in scores.ravel()]
        found = rank(frame, SCORE)
        assert found is not None
        kept.append("c0" in {found.table.index[0], *found.rivals.index})
    assert np.mean(kept) >= 0.95


def test_crossed_streams_are_averaged_by_split() -> None:
    """Two initializations by four splits are four independent replicates, not eight."""
    frame = frame_of([{"batch.size": 5}, {"batch.size": 10}], noisy([0.70, 0.75], 8))
    frame["init_seed"], frame["split_seed"] = frame["seed"] // 4, frame["seed"] % 4
    found = rank(frame, SCORE)
    assert found is not None
    assert (found.n_seeds, found.table["n_runs"].tolist()) == (4, [8, 8])


def test_seeds_of_settings_without_a_whole_score_do_not_count() -> None:
    frame = frame_of(
        [{"optimizer.lr": rate} for rate in (0.1, 0.2, 0.3)], np.array([[0.7, np.nan], [0.71, 1], [0.72, 1]])
    )
    found = rank(frame[~frame["run_id"].isin(["1-1", "2-1"])], SCORE)
    assert found is not None
    assert [*found.table.index] == ["c2", "c1", "c0"]
    assert np.isnan(found.by_halves)
