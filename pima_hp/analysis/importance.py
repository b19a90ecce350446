"""What matters: the shares of the variance between settings that each factor and each pair of factors explains.

On a complete grid the functional ANOVA (Hutter, Hoos, Leyton-Brown 2014) is the ordinary decomposition by group means
and needs no surrogate. An incomplete design is filled by a random forest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.intervals import intervals, resampled, t_tests
from pima_hp.analysis.selection import by_configuration, varying_settings
from pima_hp.config.options import Setting
from pima_hp.formatting import value_order
from pima_hp.run import Array

# Stands between the factors of an interaction.
JOINT = " x "
# Everything beyond main effects and two-way interactions.
REST = "three or more together"
# Replicates below which there is no interval.
FEWEST_SEEDS = 5
# Configurations below which no random forest is fitted.
FEWEST_CELLS = 20
# A level learns if at least this share of its runs does: one in four.
LEARNING_SHARE = 0.25
# Variance between settings that is none.
ROUNDING = 1e-16
N_REFITS, N_TREES, MOST_CELLS = 20, 10, 50_000

# Factor -> its values, in order.
Levels = Mapping[str, Sequence[Setting]]
# The places of the factors of an effect; of three or more, the rest: all that fewer do not explain.
Effect = tuple[int, ...]


@dataclass(frozen=True)
class Importance:
    """What explains the differences between the settings of a study.

    Attributes:
        shares: one row for each set of levels (`levels`: `all` or `learning`), target and effect (factors joined by
            ` x `, or `REST`): share of the variance between settings with its interval over seeds, the
            `method` and the replicates.
        levels: factor -> its values, in order, of the grid that was analyzed.
        dropped: factor -> its values at which fewer than one run in four learns.
        n_cells: configurations in the grid, and in the study.
        scores: target -> one row a configuration, with the places of its values as index; one column a replicate.
    """

    shares: pd.DataFrame
    levels: Levels
    dropped: Levels
    n_cells: tuple[int, int]
    scores: Mapping[str, pd.DataFrame]

    def means(self, target: str, factors: Sequence[str]) -> pd.DataFrame:
        """Return mean and t interval over seeds at each combination of some factors' values, the others averaged.

        Each seed's mean over all settings is replaced by that of all seeds: it cancels from every comparison.
        """
        scores = self.scores[target]
        table = (scores - scores.mean() + scores.mean().mean()).groupby(level=list(factors)).mean()  # (combinations, R)
        found = t_tests(table).rename(columns={"lower": "low", "upper": "high"}).reset_index()
        return found.assign(**{key: [self.levels[key][place] for place in found[key]] for key in factors})


def importance(
    frame: pd.DataFrame, targets: Mapping[str, Statistic], rng: np.random.Generator, n_resamples: int = 1_000
) -> Importance | None:
    """Return the importance of the settings that vary in a study; None where fewer than two are crossed.

    A complete grid is analyzed as it is, an incomplete crossed design by a random forest. Of a union of grids, in
    which settings do not vary together, a large complete grid of at least two factors is analyzed, if it has half of
    the configurations: what matters in a corner of a study is not what matters in it.

    Args:
        frame: of a study.
        targets: name -> statistic of a run; for example its final accuracy.
        rng: for the resamples of seeds.
        n_resamples: S.
    """
    settings = varying_settings(frame)
    levels = {str(key): sorted(dict.fromkeys(column), key=value_order) for key, column in settings.items()}
    cells = pd.DataFrame({key: map(found.index, settings[key]) for key, found in levels.items()}, settings.index)
    if len(levels) < 2:
        return None
    if not _is_crossed(cells):
        cells = _completed(cells)
    factors = _varying(cells)
    if len(factors) < 2 or len(cells) < len(settings) / 2:
        return None
    cells = cells[factors].sort_values(factors)
    scores = {name: _scores(frame, cells, statistic) for name, statistic in targets.items()}
    learns = _scores(frame, cells, Statistic(name="learns", curve="train/loss")).mean(axis=1)
    shares = {key: learns.groupby(level=key).mean() for key in factors}
    weak = {key: of.index[of < LEARNING_SHARE] for key, of in shares.items()}
    kept = ~np.any([cells[key].isin(weak[key]) for key in factors], axis=0)
    sets = {"all": kept | True} | ({"learning": kept} if not kept.all() else {})
    tables = [
        _shares(table[rows], rng, n_resamples).assign(levels=name, target=target)
        for name, rows in sets.items()
        if len(_varying(cells[rows])) > 1
        for target, table in scores.items()
    ]
    return Importance(
        shares=pd.concat(tables, ignore_index=True),
        levels={key: levels[key] for key in factors},
        dropped={key: [levels[key][place] for place in found] for key, found in weak.items() if len(found)},
        n_cells=(len(cells), len(settings)),
        scores=scores,
    )


def components(values: Array) -> dict[Effect, Array]:
    """Return the products (R, R) of each effect's component in two replicates, averaged over the grid (L1, ..., Lk, R).

    An effect is the mean over all other factors minus the effects of fewer factors. The replicate's own mean over the
    grid is removed first: settings share seeds, so it cancels from every comparison.
    """
    *shape, n_replicates = values.shape
    axes = tuple(range(len(shape)))
    values, found = values - values.mean(axis=axes), dict[Effect, Array]()
    for effect in dict.fromkeys([*combinations(axes, 1), *combinations(axes, 2), axes]):
        others = tuple(axis for axis in axes if axis not in effect)
        marginal = values.mean(axis=others).reshape(-1, n_replicates)
        parts = [of for key, of in found.items() if {*key} < {*effect}]
        found[effect] = marginal.T @ marginal / len(marginal) - np.sum(parts, axis=0)
    return found


def noise_free(products: Array, weights: Array) -> Array:
    """Return each effect's variance (S, U) without that of its noise, from products (U, R, R) and weights (S, R).

    The mean of a component's products over pairs of two different replicates: its noise is independent between these
    and averages to zero, whatever its size in each setting and however settings share it. With independent noise
    of variance s² it is, in expectation, the square of the mean component minus df/N s²/R. A single replicate has no
    pair; its noise stays in. Weights say how often a resample has a replicate: a replicate and its copy are no pair.

    The interval of a share, from resampled weights as `intervals` takes it, covered the true share in 89 to 93 % (5
    replicates), 92 to 93 % (10), 93 to 94 % (20) and 94 % (60) of 2,000 simulated studies with skewed noise that
    settings partly share; that of an absent effect in more than 99 %.
    """
    same = (weights**2) @ np.diagonal(products, axis1=1, axis2=2).T  # (S, U)
    every = ((weights @ products) * weights).sum(axis=2).T
    n_pairs = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
    if products.shape[1] == 1:
        return np.asarray(every)
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample of one replicate alone
        return np.asarray((every - same) / n_pairs[:, None])


def _shares(table: pd.DataFrame, rng: np.random.Generator, n_resamples: int) -> pd.DataFrame:
    """Return the share of each effect on the scores (C, R) of a grid's configurations, with its interval."""
    factors = _varying(table.index.to_frame())
    table = table.droplevel([key for key in table.index.names if key not in factors])
    shape = [table.index.unique(key).size for key in factors]
    whole = table.loc[:, table.notna().all()]
    if len(table) == math.prod(shape) and whole.shape[1] >= max(1, table.shape[1] / 2):
        method, n = "group means", whole.shape[1]
        found = components(whole.to_numpy().reshape(*shape, n))
        drawn = noise_free(np.stack([*found.values()]), resampled(n, rng, n_resamples))
        variances, drawn = drawn[0], drawn[np.isfinite(drawn).all(axis=1)]
    elif len(table := table.dropna(how="all")) >= FEWEST_CELLS:
        method, n = "random forest", table.shape[1]
        found = components(_filled(table, rng))
        drawn = np.diagonal([*found.values()], axis1=1, axis2=2).T  # (refits, U)
        variances = drawn.mean(axis=0)
    else:
        return pd.DataFrame()
    names = [JOINT.join(factors[place] for place in effect) if len(effect) < 3 else REST for effect in found]
    shares = np.full((len(names), 3), np.nan)
    totals, has_interval = drawn.sum(axis=1, keepdims=True), n >= FEWEST_SEEDS
    if variances.sum() > ROUNDING and not (has_interval and np.quantile(totals, 0.025) <= ROUNDING):
        shares[:, 0] = (variances / variances.sum()).clip(0, 1)
        shares[:, 1:] = intervals(drawn / totals, n).clip(0, 1) if has_interval else np.nan
    effects = pd.DataFrame(shares, pd.Index(names, name="effect"), ["share", "lower", "upper"]).reset_index()
    return effects.assign(method=method, n_replicates=n).sort_values("share", ascending=False, kind="stable")


def _filled(table: pd.DataFrame, rng: np.random.Generator) -> Array:
    """Return the predictions (L1, ..., Lk, refits) of random forests on the grid of all levels.

    Each forest is fitted to the means over other resampled seeds. Of a grid of more than `MOST_CELLS`, evenly spaced
    levels of the factors with most levels are predicted.
    """
    from sklearn.ensemble import RandomForestRegressor

    levels = [table.index.unique(key).sort_values().to_numpy() for key in table.index.names]
    most = next(most for most in range(999, 1, -1) if math.prod(min(len(of), most) for of in levels) <= MOST_CELLS)
    drawn = [of[np.unique(np.linspace(0, len(of) - 1, min(len(of), most)).astype(int))] for of in levels]
    grid = np.stack(np.meshgrid(*drawn, indexing="ij"), axis=-1)  # (L1, ..., Lk, k)
    settings, predictions = table.index.to_frame().to_numpy(), []
    for _ in range(N_REFITS):
        seeds = rng.integers(table.shape[1], size=table.shape[1])
        means = table.iloc[:, seeds].mean(axis=1).fillna(table.mean(axis=1))
        forest = RandomForestRegressor(N_TREES, random_state=int(rng.integers(2**31))).fit(settings, means)
        predictions.append(forest.predict(grid.reshape(-1, len(drawn))).reshape(grid.shape[:-1]))
    return np.stack(predictions, axis=-1)


def _scores(frame: pd.DataFrame, cells: pd.DataFrame, statistic: Statistic) -> pd.DataFrame:
    """Return a statistic of a grid's configurations in each replicate, their places in the grid as index."""
    table = by_configuration(frame, statistic.of(frame)).reindex(cells.index)
    return table.set_axis(pd.MultiIndex.from_frame(cells))


def _varying(cells: pd.DataFrame) -> list[str]:
    """Return the factors that take several values."""
    return [str(key) for key, places in cells.items() if places.min() < places.max()]


def _is_crossed(cells: pd.DataFrame) -> bool:
    """Return whether all factors vary together: each pair leaves its most frequent levels at once.

    In at least half as many configurations as if they were independent. In a union of grids about one baseline they
    never do.
    """
    apart = (cells != cells.mode().iloc[0]).to_numpy(float)  # (C, k)
    shares = apart.mean(axis=0)
    return bool((apart.T @ apart / len(apart) >= np.outer(shares, shares) / 2).all())


def _completed(cells: pd.DataFrame) -> pd.DataFrame:
    """Return a large complete grid: the level that lacks most of its combinations is left out until none does."""
    while len(cells) < math.prod(cells.nunique()):
        filled = pd.concat({key: of.value_counts() * of.nunique() for key, of in cells.items()}).sort_index()
        key, place = filled.index[int(filled.argmin())]
        cells = cells[cells[key] != place]
    return cells
