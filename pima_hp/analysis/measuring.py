"""Measure the parts of a claim in one context: paired replicates in, an estimate of each part out."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pima_hp.analysis import comparison
from pima_hp.analysis.bootstrap import Estimate, Share, bootstrap
from pima_hp.analysis.claims import Claim, Part
from pima_hp.analysis.comparison import Effect
from pima_hp.analysis.curves import slope_on_log2
from pima_hp.analysis.selection import Context, Runs, named
from pima_hp.record import Array

FEWEST_REPLICATES = 10


@dataclass(frozen=True)
class Measured:
    """One part of a claim.

    Attributes:
        name: of the part.
        estimate: None where `problem` says why there is none.
        effect: of paired contrasts, when asked for.
        unit: of the estimate.
        n_replicates: seeds with a value in every configuration of the part.
        n_diverged: runs of these configurations that diverged.
        n_failed: runs that failed; they are left out.
        config_ids: where the number comes from.
        n_runs: runs of these configurations.
        runs_digest: SHA-256 of their sorted run ids, 16 digits.
        problem: in words, empty when there is an estimate.
        beside: not part of the rules.
    """

    name: str
    estimate: Estimate | None = None
    effect: Effect | None = None
    unit: str = ""
    n_replicates: int = 0
    n_diverged: int = 0
    n_failed: int = 0
    config_ids: tuple[str, ...] = ()
    n_runs: int = 0
    runs_digest: str = ""
    problem: str = ""
    beside: bool = False


def measure(
    claim: Claim, runs: Runs, context: Context | None, seed: int, n_resamples: int, effects: bool = False
) -> list[Measured]:
    """Measure each part; `seed` and the names alone decide the resamples, whatever other claims are judged."""
    return [
        _measure(part, runs, context, np.random.default_rng([seed, zlib.crc32(f"{claim.id}/{part.name}".encode())]),
                 n_resamples, effects)
        for part in claim.parts
    ]  # fmt: skip


def _measure(
    part: Part, runs: Runs, context: Context | None, rng: np.random.Generator, n_resamples: int, effects: bool
) -> Measured:
    if part.awaits is not None or part.functional is None:
        return Measured(part.name, problem=f"{part.name} awaits {part.awaits}")
    arms = [*part.where, *part.over]
    config_ids = [context.configurations.get(named(arm)) if context else None for arm in arms]
    present = tuple(dict.fromkeys(config_id for config_id in config_ids if config_id))
    rows = [runs.of[config_id] for config_id in present]
    run_ids = sorted(run_id for table in rows for run_id in table["run_id"])
    status = [value for table in rows for value in table["status"]]
    counts = {"n_diverged": status.count("diverged"), "n_failed": status.count("failed"), "n_runs": len(run_ids)}
    digest = hashlib.sha256("\n".join(run_ids).encode()).hexdigest()[:16]
    problem, values = "", np.empty((0, len(arms)))
    if missing := [named(arm) for arm, config_id in zip(arms, config_ids, strict=True) if not config_id]:
        problem = f"no runs with {'; '.join(missing)}"
    elif ambiguous := [line for line in context.problems if line.partition(": ")[0] in map(named, arms)] if context else []:
        problem = "; ".join(ambiguous)
    elif part.functional.facts and runs.facts(present[0]) is None:
        problem = f"{part.functional.name} needs rows and positive rate of the table (TableFacts)"
    else:
        values = paired([runs.values(str(config_id), part.functional) for config_id in config_ids])  # (R, K)
        if len(values) < FEWEST_REPLICATES:
            problem = f"at least {FEWEST_REPLICATES} complete replicates are needed; found {len(values)}"
    found = Measured(part.name, None, None, _unit(part), len(values), **counts,
                     config_ids=present, runs_digest=digest, problem=problem, beside=part.beside)  # fmt: skip
    if problem:
        return found
    estimate, effect = _contrast(part, values, rng, n_resamples, effects)
    return Measured(**{**found.__dict__, "estimate": estimate, "effect": effect})


def paired(values: Sequence[dict[tuple[int, ...], float]]) -> Array:
    """Values (R, K) of the seeds that all K configurations have, none of them missing."""
    shared = [seeds for seeds in values[0] if all(seeds in other for other in values[1:])]
    table = np.array([[of[seeds] for of in values] for seeds in shared]).reshape(len(shared), len(values))
    return np.asarray(table[~np.isnan(table).any(axis=1)])


def _contrast(
    part: Part, values: Array, rng: np.random.Generator, n_resamples: int, effects: bool
) -> tuple[Estimate, Effect | None]:
    if part.contrast == "share":
        return Share(float(values.sum()), len(values)), None
    if part.contrast == "mean":
        return bootstrap(values[:, 0], rng, n_resamples), None
    n_where = len(part.where)
    if part.contrast == "slope":
        sizes = np.array([float(arm[part.along or ""]) for arm in part.where])
        estimate: Estimate = bootstrap(slope_on_log2(values, sizes), rng, n_resamples)
        first, second, pair = values[:, 0], values[:, -1], ([part.where[0]], [part.where[-1]])
    else:
        first, second, pair = values[:, :n_where].mean(axis=1), values[:, n_where:].mean(axis=1), (part.where, part.over)
        if part.contrast == "order":
            estimate = comparison.win_probability(first, second, rng, n_resamples)
        else:
            difference = comparison.mean_difference(first, second, rng, n_resamples)
            estimate = difference.mapped(np.exp) if part.contrast == "ratio" else difference
    if not effects:
        return estimate, None
    wins = estimate if part.contrast == "order" else comparison.win_probability(first, second, rng, n_resamples)
    words = " over ".join(" and ".join(map(named, group)) for group in pair)
    return estimate, Effect(words, wins.estimate, *wins.interval())


def _unit(part: Part) -> str:
    if part.functional is None or part.contrast == "order":
        return "probability"
    if part.contrast == "ratio":
        return "ratio"
    return part.functional.unit + (f" per doubling of {part.along}" if part.contrast == "slope" else "")
