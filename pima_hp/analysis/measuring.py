"""Measure the parts of a claim in one context: paired replicates in, an estimate of each part out."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pima_hp.analysis.bootstrap import Estimate, Share, bootstrap
from pima_hp.analysis.claims import Claim, Part, Selector
from pima_hp.analysis.comparison import Effect, win_probability
from pima_hp.analysis.curves import slope_on_log2
from pima_hp.analysis.functionals import Functional
from pima_hp.analysis.selection import Context, Runs, named
from pima_hp.record import Array

FEWEST_REPLICATES = 10


@dataclass(frozen=True)
class Measured:
    """One part of a claim."""

    name: str
    problem: str = ""  # why there is no estimate, in words; empty when there is one
    estimate: Estimate | None = None
    effect: Effect | None = None  # of paired contrasts, when asked for
    unit: str = ""
    n_replicates: int = 0  # seeds with a value in every configuration of the part
    n_diverged: int = 0
    n_failed: int = 0  # runs that are left out
    n_runs: int = 0  # of the configurations, diverged and failed ones included
    runs_digest: str = ""  # SHA-256 of their sorted run ids, 16 digits
    config_ids: tuple[str, ...] = ()
    beside: bool = False  # not part of the rules


def measure(
    claim: Claim, runs: Runs, context: Context | None, seed: int, n_resamples: int, effects: bool = False
) -> tuple[Measured, ...]:
    """Measure each part; `seed` and the names alone decide the resamples, whatever other claims are judged."""
    streams = [np.random.default_rng([seed, zlib.crc32(f"{claim.id}/{part.name}".encode())]) for part in claim.parts]
    pairs = zip(claim.parts, streams, strict=True)
    return tuple(_measure(part, runs, context, rng, n_resamples, effects) for part, rng in pairs)


def _measure(
    part: Part, runs: Runs, context: Context | None, rng: np.random.Generator, n_resamples: int, effects: bool
) -> Measured:
    if part.functional is None or part.awaits is not None:
        return Measured(part.name, f"{part.name} awaits {part.awaits}", beside=part.beside)
    arms = [*part.where, *part.over]
    ids = [context.configurations[named(arm)] if context else () for arm in arms]
    present = list(dict.fromkeys(config_id for found in ids for config_id in found))
    status = [value for config_id in present for value in runs.of[config_id]["status"]]
    run_ids = sorted(value for config_id in present for value in runs.of[config_id]["run_id"])
    found = Measured(
        part.name,
        unit=_unit(part.functional, part),
        n_diverged=status.count("diverged"),
        n_failed=status.count("failed"),
        n_runs=len(run_ids),
        runs_digest=hashlib.sha256("\n".join(run_ids).encode()).hexdigest()[:16],
        config_ids=tuple(present),
        beside=part.beside,
    )
    if odd := [(named(arm), len(of)) for arm, of in zip(arms, ids, strict=True) if len(of) != 1]:
        name, number = odd[0]
        more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
        several = f"{number} configurations with {name}: name what they differ in under where"
        return replace(found, problem=f"{several if number else f'no runs with {name}'}{more}")
    if part.functional.facts and runs.facts(present[0]) is None:
        return replace(found, problem=f"{part.functional.name} needs the table's rows and positive rate (TableFacts)")
    values = paired([runs.values(config_id, part.functional) for (config_id,) in ids])  # (R, K)
    found = replace(found, n_replicates=len(values))
    if len(values) < FEWEST_REPLICATES:
        problem = f"{part.name}: at least {FEWEST_REPLICATES} complete replicates are needed; found {len(values)}"
        return replace(found, problem=problem)
    estimate, effect = _contrast(part, values, rng, n_resamples, effects)
    return replace(found, estimate=estimate, effect=effect)


def paired(values: Sequence[dict[tuple[int, ...], float]]) -> Array:
    """Values (R, K) of the seeds that all K configurations have, none of them missing."""
    shared = [seeds for seeds in values[0] if all(seeds in other for other in values[1:])]
    table = np.array([[of[seeds] for of in values] for seeds in shared]).reshape(len(shared), len(values))
    return np.asarray(table[~np.isnan(table).any(axis=1)])


def _contrast(
    part: Part, values: Array, rng: np.random.Generator, n_resamples: int, effects: bool
) -> tuple[Estimate, Effect | None]:
    """Values (R, K), the columns of `where` before those of `over`."""
    if part.contrast == "share":
        return Share(float(values.sum()), len(values)), None
    if part.contrast == "mean":
        return bootstrap(values[:, 0], rng, n_resamples), None
    estimate: Estimate
    if part.contrast == "slope":
        sizes = np.array([float(arm[part.along or ""]) for arm in part.where])
        estimate = bootstrap(slope_on_log2(values, sizes), rng, n_resamples)
        first, second, groups = values[:, 0], values[:, -1], (part.where[:1], part.where[-1:])
    else:
        n_where, groups = len(part.where), (part.where, part.over)
        first, second = values[:, :n_where].mean(axis=1), values[:, n_where:].mean(axis=1)  # (R,) each
        difference = bootstrap(first - second, rng, n_resamples)
        estimate = difference.mapped(np.exp) if part.contrast == "ratio" else difference
    if part.contrast != "order" and not effects:
        return estimate, None
    wins = win_probability(first, second, rng, n_resamples)
    effect = Effect(_groups(*groups), wins.estimate, *wins.interval())
    return (wins if part.contrast == "order" else estimate), effect


def _groups(first: Sequence[Selector], second: Sequence[Selector]) -> str:
    """Two groups by the settings that differ among their configurations: `batch.size=5 over batch.size=32`."""
    arms = [*first, *second]
    keys = [key for key in arms[0] if any(arm.get(key) != arms[0][key] for arm in arms)]
    return " over ".join(
        " and ".join(named({key: arm[key] for key in keys if key in arm}) for arm in group) for group in (first, second)
    )


def _unit(functional: Functional, part: Part) -> str:
    if part.contrast in ("order", "ratio"):
        return "probability" if part.contrast == "order" else "ratio"
    return functional.unit + (f" per doubling of {part.along}" if part.contrast == "slope" else "")
