"""The same claims in two studies side by side, paired by seed where the studies share seeds."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pima_hp.analysis.estimates import FEWEST_REPLICATES, Estimate
from pima_hp.analysis.intervals import Share, bootstrap
from pima_hp.analysis.selection import matched
from pima_hp.ledger.frame import curve_columns
from pima_hp.report.panels import interval_text
from pima_hp.report.results import SEED, Results
from pima_hp.report.rows import estimate_text

NUMBERS = ("value", "lower", "upper", "n_replicates")


def side_by_side(first: Results, second: Results) -> pd.DataFrame:
    """The parts of claims that both studies can tell of, with their differences, second minus first.

    A difference is the mean over the replicates that both studies have, with a bootstrap interval: of shares, means,
    slopes, and of logarithms for a ratio. Studies that share fewer than 10 are taken as independent: `paired` says
    which, `over` in words. `identical` marks parts whose shared replicates are the same runs with equal results. A part
    beside the rules has no word.
    """
    rows = []
    for one, other in zip(first.verdicts, second.verdicts, strict=True):
        for part, twin in zip(one.estimates, other.estimates, strict=True):
            if part.inference is None or twin.inference is None:
                continue
            words = {} if part.descriptive else {"word_1": str(one.outcome), "word_2": str(other.outcome)}
            numbers = {
                f"{key}_{number}": row[key] for number, row in enumerate([part.row, twin.row], 1) for key in NUMBERS
            }
            same = part.config_ids == twin.config_ids and _same_runs(first.frame, second.frame, part.config_ids)
            rows.append({"claim": one.claim.id, "part": part.name, "word_1": "", "word_2": ""} | words | numbers
                        | {"unit": part.unit} | _difference(part, twin, same=same))  # fmt: skip
    return pd.DataFrame(rows)


def shown_side_by_side(table: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """The same for a terminal."""

    def cell(row: Any, number: int) -> str:
        text = estimate_text({key: row[f"{key}_{number}"] for key in NUMBERS})
        return f"{row[f'word_{number}']} {text}".strip()

    return pd.DataFrame(
        {"claim": f"{row['claim']} {row['part']}", f"1: {first}": cell(row, 1), f"2: {second}": cell(row, 2),
         "2 minus 1": interval_text(row["difference"], row["difference_lower"], row["difference_upper"])
         + (" (logarithms)" if row["unit"] == "ratio" else ""), "over": row["over"]}
        for _, row in table.iterrows()
    )  # fmt: skip


def _same_runs(first: pd.DataFrame, second: pd.DataFrame, config_ids: Sequence[str]) -> bool:
    """Whether the runs of some configurations that both studies hold, by their ids, have equal curves."""
    runs = [frame[frame["config_id"].isin(config_ids)].set_index("run_id") for frame in (first, second)]
    shared = runs[0].index.intersection(runs[1].index)
    columns = ["status", *(key for key in curve_columns(first) if key in second)]
    pairs = zip(*(of.loc[shared, columns].itertuples(index=False) for of in runs), strict=True)
    return len(shared) > 0 and all(_equal(a, b) for pair in pairs for a, b in zip(*pair, strict=True))


def _equal(first: object, second: object) -> bool:
    return first == second if isinstance(first, str) else np.array_equal(first, second, equal_nan=True)  # type: ignore[arg-type]


def _difference(part: Estimate, twin: Estimate, *, same: bool) -> dict[str, Any]:
    numbers = [dict(zip(of.seeds, of.numbers.tolist(), strict=True)) for of in (part, twin)]
    shared, table = matched(numbers)  # (R, 2)
    paired, identical = len(shared) >= FEWEST_REPLICATES, same and len(shared) > 0
    if paired:
        found = bootstrap(table[:, 1] - table[:, 0], np.random.default_rng(SEED))
        d, (lower, upper) = found.estimate, found.interval()
        if part.contrast == "share" and lower == upper and not identical:
            reach = Share(0, len(shared)).interval()[1]  # no pair differs: as many may as Wilson allows
            lower, upper = d - reach, d + reach
    else:
        d, lower, upper = _independent(part, twin)
    of = f"{len(numbers[0])} and {len(numbers[1])}"
    over = f"{len(shared)} shared seeds, of {of}" if paired else f"all of {of}, as independent: {len(shared)} shared"
    told = {"difference": d, "difference_lower": lower, "difference_upper": upper, "paired": paired}
    return {**told, "n_pairs": len(shared) if paired else 0, "n_shared": len(shared), "identical": identical,
            "over": over + (", identical runs" if identical else "")}  # fmt: skip


def _independent(part: Estimate, twin: Estimate) -> tuple[float, float, float]:
    """Zou and Donner (2008): d minus and plus the root of the summed squares of the distances to the facing bounds."""
    ends = [(of.inference.estimate, *of.inference.interval()) for of in (part, twin) if of.inference]
    (a, low_a, high_a), (b, low_b, high_b) = (
        [tuple(map(math.log, end)) for end in ends] if part.unit == "ratio" else ends
    )
    return b - a, b - a - math.hypot(b - low_b, high_a - a), b - a + math.hypot(high_b - b, a - low_a)
