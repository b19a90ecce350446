from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.importance import Importance, components, importance, noise_free
from pima_hp.analysis.intervals import Resamples
from tests.analysis.grids import SCORE, frame_of, grid_of

LEVELS = {"activation": ["relu", "sigmoid", "tanh"], "batch.size": [5, 10, 16, 32], "optimizer.lr": [0.001, 0.01]}
SHAPE = (3, 4, 2)
LR_BY_SIZE = "batch.size x optimizer.lr"


def importance_of(scores: np.ndarray, levels=LEVELS, losses=None, kept: Sequence[int] | None = None) -> Importance:
    """The importance in a grid with scores (L1, ..., Lk, R); `kept`: the configurations that were trained."""
    rows = [*range(len(grid_of(levels)))] if kept is None else [*kept]
    table = scores.reshape(-1, scores.shape[-1])
    settings = [grid_of(levels)[row] for row in rows]
    own_losses = None if losses is None else losses.reshape(table.shape)[rows]
    found = importance(frame_of(settings, table[rows], own_losses), {"score": SCORE}, np.random.default_rng(0), 500)
    assert found is not None
    return found


def shares_of(found: Importance, levels: str = "all") -> "pd.Series[float]":
    return found.shares[found.shares["levels"] == levels].set_index("effect")["share"]


def effects(rng: np.random.Generator) -> np.ndarray:
    """An additive grid with an interaction of batch size and learning rate: (3, 4, 2)."""
    a, b, c = np.array([0, 0.03, -0.03]), np.array([-0.02, -0.01, 0.01, 0.02]), np.array([-0.01, 0.01])
    return 0.7 + a[:, None, None] + b[:, None] + c + np.array([[0.01, -0.01], [-0.01, 0.01], [0, 0], [0, 0]])


def test_shares_of_a_planted_grid_are_those_computed_by_hand() -> None:
    seeds = np.random.default_rng(0).normal(0, 0.05, 6)  # shared by all settings: cancels
    found = importance_of(effects(np.random.default_rng(0))[..., None] + seeds)
    variances = {"activation": 0.0018 / 3, "batch.size": 0.001 / 4, "optimizer.lr": 0.0001, LR_BY_SIZE: 0.0004 / 8}
    shares = shares_of(found)
    for effect in shares.index:
        assert shares[effect] == pytest.approx(variances.get(effect, 0) / sum(variances.values()), abs=1e-9)
    assert [*shares.index[:3]] == ["activation", "batch.size", "optimizer.lr"]


def test_a_pure_interaction_has_no_main_effect() -> None:
    scores = 0.7 + 0.01 * np.array([[1, -1], [-1, 1]])[..., None] + np.zeros(5)
    found = importance_of(scores, {"activation": ["relu", "tanh"], "optimizer.lr": [0.001, 0.01]})
    assert shares_of(found).round(9).to_dict() == {
        "activation x optimizer.lr": 1, "activation": 0, "optimizer.lr": 0,
    }  # fmt: skip


def test_components_add_up_to_the_variance_between_settings() -> None:
    values = np.random.default_rng(0).normal(size=(*SHAPE, 2, 1))
    found = components(values)
    assert len(found) == 4 + 6 + 1
    assert sum(float(products[0, 0]) for products in found.values()) == pytest.approx(values.var(), rel=1e-12)


def test_what_noise_adds_is_removed_even_where_settings_share_it() -> None:
    """Noise of the activation's level under a seed is shared by its settings; 2,000 simulated studies, +- 4 errors."""
    rng, n, truth = np.random.default_rng(0), 2_000, effects(np.random.default_rng(0))
    planted = {of: products[0, 0] for of, products in components(truth[..., None]).items()}
    drawn = []
    for _ in range(n):
        noise = 0.02 * rng.normal(size=(3, 1, 1, 5)) + 0.02 * rng.normal(size=(*SHAPE, 5))
        products = components(truth[..., None] + noise)
        drawn.append(noise_free(np.stack([*products.values()]), np.ones((1, 5)))[0])
    means, errors = np.mean(drawn, axis=0), np.std(drawn, axis=0) / n**0.5
    assert (np.abs(means - [*planted.values()]) < 4 * errors).all()


def test_shares_are_those_of_an_analysis_of_variance_with_the_effect_by_seed_error() -> None:
    """Written out with tables: mean squares of each effect minus those of its interaction with the seed."""
    rng = np.random.default_rng(0)
    scores = effects(rng)[..., None] + 0.02 * rng.normal(size=(3, 1, 1, 7)) + 0.02 * rng.normal(size=(*SHAPE, 7))
    table = pd.DataFrame(scores.reshape(24, 7), pd.MultiIndex.from_frame(pd.DataFrame(grid_of(LEVELS))))
    table = table - table.mean()

    def variance(component: pd.DataFrame) -> float:
        mean = component.mean(axis=1)
        error = (component.sub(mean, axis=0) ** 2).sum(axis=1) / (7 * 6)
        return float((mean**2 - error).mean())

    shares = shares_of(importance_of(scores))
    for pair in combinations(LEVELS, 2):
        first, second = (table.groupby(level=key).transform("mean") for key in pair)
        both = table.groupby(level=[*pair]).transform("mean") - first - second
        for effect, component in ((pair[0], first), (" x ".join(pair), both)):
            expected = max(0, variance(component) / variance(table))
            assert shares[effect] == pytest.approx(expected, abs=1e-9)


def coverage(n_studies: int, n_replicates: int) -> np.ndarray:
    """How often the interval of each share has the true one, in studies whose noise is skewed and partly shared."""
    rng, truth = np.random.default_rng(1), effects(np.random.default_rng(0))
    planted = np.array([products[0, 0] for products in components(truth[..., None]).values()])
    covered = np.zeros(len(planted))
    for _ in range(n_studies):
        noise = rng.normal(size=(3, 1, 1, n_replicates)) + rng.exponential(size=(*SHAPE, n_replicates))
        products = np.stack([*components(truth[..., None] + 0.02 * noise).values()])
        weights = rng.multinomial(n_replicates, np.full(n_replicates, 1 / n_replicates), 300).astype(float)
        drawn = noise_free(products, weights)
        drawn = drawn[np.isfinite(drawn).all(axis=1)]  # without resamples of one replicate alone
        for place, column in enumerate(np.sort(drawn / drawn.sum(axis=1, keepdims=True), axis=0).T):
            low, high = Resamples(0, n_replicates, column).interval()
            covered[place] += low <= (planted / planted.sum())[place] <= high
    return covered / n_studies


def test_intervals_of_shares_have_the_true_share_as_often_as_they_should() -> None:
    """Nominal 95 %; at least 90 % in 300 simulated studies of 20 replicates (standard error 1.3 %)."""
    assert (coverage(300, 20) > 0.90).all()


@pytest.mark.slow
@pytest.mark.parametrize(("n_replicates", "least"), [(5, 0.88), (10, 0.90), (20, 0.91), (60, 0.92)])
def test_intervals_of_shares_in_many_simulated_studies(n_replicates: int, least: float) -> None:
    assert (coverage(2_000, n_replicates) > least).all()


def test_optuna_ranks_the_same_effects_in_the_same_order() -> None:
    """Its fANOVA fits a random forest and has main effects only: its shares are others, but not their order."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rng, truth = np.random.default_rng(0), effects(np.random.default_rng(0))
    scores = truth[..., None] + 0.005 * rng.normal(size=(*SHAPE, 10))
    distributions = {key: optuna.distributions.CategoricalDistribution(found) for key, found in LEVELS.items()}
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        optuna.trial.create_trial(params=own, distributions=distributions, value=value)
        for own, row in zip(grid_of(LEVELS), scores.reshape(24, 10).tolist(), strict=True)
        for value in row
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    theirs = optuna.importance.get_param_importances(study, evaluator=evaluator)
    mains = shares_of(importance_of(scores))[[*LEVELS]].sort_values(ascending=False)
    assert [*theirs] == [*mains.index]


def test_without_levels_at_which_fewer_than_one_run_in_four_learns_another_factor_may_matter_most() -> None:
    scores = 0.7 + np.array([0, 0.01, -0.2])[:, None, None, None] + np.array([-0.02, 0, 0.01, 0.02])[:, None, None]
    losses = np.where(np.arange(3)[:, None, None, None] == 2, 0.66, 0.5) + np.zeros((*SHAPE, 5))
    found = importance_of(scores + np.zeros((*SHAPE, 5)), losses=losses)
    assert found.dropped == {"activation": ["tanh"]}
    assert shares_of(found).index[0] == "activation"
    assert shares_of(found, "learning").index[0] == "batch.size"


def test_a_union_of_one_factor_grids_has_no_importance() -> None:
    usual = {key: found[0] for key, found in LEVELS.items()}
    rows = [usual, *({**usual, key: value} for key, found in LEVELS.items() for value in found[1:])]
    frame = frame_of(rows, np.random.default_rng(0).normal(0.7, 0.02, (len(rows), 5)))
    assert importance(frame, {"score": SCORE}, np.random.default_rng(0)) is None
    one = frame[frame["config_id"] == frame["config_id"].iloc[0]]
    assert importance(one, {"score": SCORE}, np.random.default_rng(0)) is None


def test_the_largest_complete_grid_of_a_union_is_analyzed() -> None:
    rows = grid_of({"activation": ["relu", "tanh"], "batch.size": [5, 10, 16]})
    rows += [{"optimizer.lr": rate} for rate in (0.01, 0.1, 1.0)]
    frame = frame_of(rows, np.random.default_rng(0).normal(0.7, 0.02, (len(rows), 5)))
    found = importance(frame, {"score": SCORE}, np.random.default_rng(0))
    assert found is not None
    assert found.n_cells == (6, 9)
    assert found.levels == {"activation": ["relu", "tanh"], "batch.size": [5, 10, 16]}
    assert set(found.shares["method"]) == {"group means"}


def test_a_grid_that_is_a_corner_of_a_study_says_nothing_about_it() -> None:
    rows = grid_of({"activation": ["relu", "tanh"], "batch.size": [5, 10]})
    rows += [{"optimizer.lr": rate} for rate in (0.01, 0.1, 1.0, 2.0, 3.0)]
    frame = frame_of(rows, np.random.default_rng(0).normal(0.7, 0.02, (len(rows), 5)))
    assert importance(frame, {"score": SCORE}, np.random.default_rng(0)) is None


def test_a_grid_with_missing_settings_is_filled_by_a_random_forest_and_says_so() -> None:
    scores = effects(np.random.default_rng(0))[..., None] + np.zeros(5)
    whole, part = importance_of(scores), importance_of(scores, kept=[n for n in range(24) if n not in (3, 17)])
    assert set(part.shares["method"]) == {"random forest"}
    assert shares_of(part).index[0] == shares_of(whole).index[0]
    assert shares_of(part)["activation"] == pytest.approx(shares_of(whole)["activation"], abs=0.15)


def test_a_setting_whose_runs_all_diverged_counts_as_missing_and_one_diverged_run_costs_its_seed() -> None:
    scores = effects(np.random.default_rng(0))[..., None] + np.zeros(8)
    scores[1, 1, 1, 3] = np.nan
    assert set(importance_of(scores).shares[["method", "n_replicates"]].itertuples(index=False, name=None)) == {
        ("group means", 7)
    }
    scores[1, 1, 1] = np.nan
    assert set(importance_of(scores).shares["method"]) == {"random forest"}


def test_one_replicate_has_no_interval_and_pure_noise_has_no_shares() -> None:
    rng = np.random.default_rng(0)
    single = importance_of(effects(rng)[..., None] + 0.001 * rng.normal(size=(*SHAPE, 1))).shares
    assert single["share"].notna().all()
    assert single[["lower", "upper"]].isna().all(axis=None)
    assert importance_of(0.7 + 0.02 * rng.normal(size=(*SHAPE, 6))).shares["share"].isna().all()


def test_means_of_a_pair_are_over_all_other_settings() -> None:
    truth = effects(np.random.default_rng(0))
    table = importance_of(truth[..., None] + np.zeros(5)).means("score", ["batch.size", "optimizer.lr"])
    assert len(table) == 8
    for row in table.itertuples():
        place = LEVELS["batch.size"].index(row[1]), LEVELS["optimizer.lr"].index(row[2])
        assert row.mean == pytest.approx(truth.mean(axis=0)[place], abs=1e-12)
        assert row.low == pytest.approx(row.high, abs=1e-9)
