"""Measure the parts of a claim in one context: paired replicates in, an estimate of each part out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pima_hp.analysis.bootstrap import Draw, Estimate, Share
from pima_hp.analysis.claims import Claim, Contrast, Part, Selector
from pima_hp.analysis.comparison import Effect, win_probability, wins
from pima_hp.analysis.curves import slope_on_log2
from pima_hp.analysis.functionals import Functional
from pima_hp.analysis.rules import Estimates
from pima_hp.analysis.selection import Context, Runs, Seeds, named
from pima_hp.run import Array, RunStatus

FEWEST_REPLICATES = 10  # distinct ones


@dataclass(frozen=True)
class Replicates:
    """One number per seed, whose mean (for a ratio: its exponential) is the estimate of a part."""

    seeds: Sequence[Seeds] = ()
    numbers: Array = field(default_factory=lambda: np.empty(0))  # (R,)
    pair: tuple[Array, Array] | None = None  # (R,) and (R,): what is compared
    problem: str = ""  # why there is no estimate, in words; empty when there is one


@dataclass(frozen=True)
class Measured:
    """One part of a claim."""

    name: str
    contrast: Contrast | None
    problem: str = ""
    estimate: Estimate | None = None
    effect: Effect | None = None  # of paired contrasts
    replicates: Replicates = field(
        default_factory=Replicates
    )  # of the seeds with a value in every configuration of the part
    unit: str = ""
    n_diverged: int = 0
    n_stopped: int = 0  # stopped early: they say nothing of the part
    n_failed: int = 0  # runs that are left out
    n_runs: int = 0  # of the configurations, each counted once, those above included
    runs_digest: str = ""  # SHA-256 of their sorted run ids, 16 digits
    config_ids: tuple[str, ...] = ()
    beside: bool = False  # not part of the rules


def measure(claim: Claim, runs: Runs, context: Context | None, draw: Draw) -> tuple[Measured, ...]:
    """Measure each part and say what it rests on; all parts with as many replicates share their resamples."""
    return tuple(_measure(part, runs, context, draw) for part in claim.parts)


def estimates(claim: Claim, runs: Runs, context: Context | None, draw: Draw) -> Estimates:
    """The estimates alone, of the parts that the rules are about."""
    found = {part.name: (part.contrast, replicates(part, runs, context)) for part in claim.parts if not part.beside}
    return {
        name: None if of.problem else estimate(contrast, of.numbers, draw) for name, (contrast, of) in found.items()
    }


def replicates(part: Part, runs: Runs, context: Context | None) -> Replicates:
    """The number of each replicate, or why the part cannot be measured."""
    if part.functional is None or part.awaits is not None:
        return Replicates(problem=f"{part.name} awaits {part.awaits}")
    arms = [*part.where, *part.over]
    ids = _ids(part, context)
    if odd := [(named(arm), len(of)) for arm, of in zip(arms, ids, strict=True) if len(of) != 1]:
        name, number = odd[0]
        more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
        several = f"{number} configurations with {name}: name what they differ in under where"
        return Replicates(problem=f"{several if number else f'no runs with {name}'}{more}")
    if lacking := runs.lacks(ids[0][0], part.functional):
        text = f"{part.functional.name} needs {' and '.join(lacking)}, which these runs do not record"
        return Replicates(problem=f"{text}; train them again in another study")
    seeds, table = runs.paired([config_id for (config_id,) in ids], part.functional)  # (R, K)
    if part.contrast == "share" and (unknown := _unknown(runs, ids[0][0], len(seeds))):
        return Replicates(seeds, problem=f"{part.name}: {unknown}")
    if len(seeds) < FEWEST_REPLICATES:
        found = f"at least {FEWEST_REPLICATES} distinct replicates are needed; found {len(seeds)}"
        return Replicates(seeds, problem=f"{part.name}: {found}")
    return Replicates(seeds, *_contrast(part, table))


def estimate(contrast: Contrast | None, values: Array, draw: Draw) -> Estimate:
    """The estimate that a contrast makes of the numbers of its replicates, (R,)."""
    if contrast == "share":
        return Share(float(values.sum()), len(values))
    if contrast == "order":
        return win_probability(values, draw)
    return draw(values).mapped(np.exp) if contrast == "ratio" else draw(values)


def _measure(part: Part, runs: Runs, context: Context | None, draw: Draw) -> Measured:
    found = replicates(part, runs, context)
    measured = Measured(part.name, part.contrast, found.problem, replicates=found, beside=part.beside)
    if part.functional is None or part.awaits is not None:
        return measured
    present = list(dict.fromkeys(config_id for ids in _ids(part, context) for config_id in ids))
    status = [value for config_id in present for value in runs.of[config_id]["status"]]
    run_ids = sorted(value for config_id in present for value in runs.of[config_id]["run_id"])
    measured = replace(
        measured,
        unit=_unit(part.functional, part),
        n_diverged=status.count(RunStatus.DIVERGED),
        n_stopped=status.count(RunStatus.STOPPED),
        n_failed=status.count(RunStatus.FAILED),
        n_runs=len(run_ids),
        runs_digest=hashlib.sha256("\n".join(run_ids).encode()).hexdigest()[:16],
        config_ids=tuple(present),
    )
    if found.problem:
        return measured
    effect = None
    if found.pair:
        won = win_probability(wins(*found.pair), draw)
        groups = (part.where[:1], part.where[-1:]) if part.contrast == "slope" else (part.where, part.over)
        effect = Effect(_groups(*groups), won.estimate, *won.interval())
    return replace(measured, estimate=estimate(part.contrast, found.numbers, draw), effect=effect)


def _unknown(runs: Runs, config_id: str, n_known: int) -> str:
    """Return why a share cannot be computed: some runs have no answer yet, and dropping them would bias the share."""
    n_stopped = runs.count(config_id, RunStatus.STOPPED)
    n_short = runs.count(config_id, RunStatus.COMPLETED, RunStatus.DIVERGED) - n_known
    told = [f"{n_stopped} of {len(runs.of[config_id])} runs stopped early and have no answer"] if n_stopped else []
    return "; ".join(told + ([f"{n_short} runs are too short to have an answer"] if n_short else []))


def _ids(part: Part, context: Context | None) -> list[Sequence[str]]:
    """The configurations of each arm in this context."""
    return [context.configurations[named(arm)] if context else () for arm in [*part.where, *part.over]]


def _contrast(part: Part, table: Array) -> tuple[Array, tuple[Array, Array] | None]:
    """Values (R, K), the columns of `where` before those of `over`: (R,), and the two sides of a comparison."""
    if part.contrast in ("share", "mean"):
        return table[:, 0], None
    if part.contrast == "slope":
        sizes = np.array([float(arm[part.along or ""]) for arm in part.where])
        return slope_on_log2(table, sizes), (table[:, 0], table[:, -1])
    n_where = len(part.where)
    pair = table[:, :n_where].mean(axis=1), table[:, n_where:].mean(axis=1)
    return wins(*pair) if part.contrast == "order" else pair[0] - pair[1], pair


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
