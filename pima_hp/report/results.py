"""What a report is made of: the runs of a study, what was planned, what the claims come to."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from pima_hp.analysis.claims import Claim
from pima_hp.analysis.functionals import PIMA, TableFacts
from pima_hp.analysis.multiverse import Robustness, holding_together, multiverse
from pima_hp.analysis.verdicts import Verdict, judge
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import PimaError
from pima_hp.ledger import Manifest, read_study
from pima_hp.report.tables import swept

FLOORS = "floors.json"
LARGEST_BYTES = 2**20
MOST_FACTORS = 6
SEED = 0
"""Of the resamples: the same ledger gives the same report."""


@dataclass(frozen=True)
class Results:
    """A study as a report sees it.

    Attributes:
        folder: of the study.
        frame: one row a run.
        manifest: what was asked; None where it is lost.
        notes: what was left out, a line each.
        floors: content of `floors.json`, by the trainer's or the command's hand; empty without.
        verdicts: of the claims, in their order.
        robustness: of the same.
    """

    folder: Path
    frame: pd.DataFrame
    manifest: Manifest | None
    notes: Sequence[str]
    floors: Mapping[str, Any]
    verdicts: Sequence[Verdict]
    robustness: Sequence[Robustness]

    @classmethod
    def read(cls, folder: Path, claims: Sequence[Claim]) -> Self:
        """Read a study and judge the claims; `InputError` where there is none."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            frame = read_study(folder)
        notes = [str(warning.message) for warning in caught]
        try:
            manifest = Manifest.read(folder)
        except PimaError as error:
            manifest, notes = None, [*notes, str(error)]
        floors = read_floors(folder)
        try:
            facts = TableFacts(int(floors["n_rows"]), float(floors["positive_rate"]))
        except (KeyError, TypeError, ValueError):
            facts = None
        facts = PIMA if set(frame.get("data_digest", ())) == {SHIPPED_SHA256} else facts
        rng = np.random.default_rng(SEED)
        verdicts = judge(claims, frame, rng, table=facts)
        return cls(folder, frame, manifest, notes, floors, verdicts, multiverse(claims, frame, rng, table=facts))

    @property
    def name(self) -> str:
        """Of the study."""
        return self.folder.resolve().name

    @cached_property
    def facts(self) -> TableFacts | None:
        """Rows and positive rate of the one table of the study, where they are known."""
        if set(self.frame.get("data_digest", ())) == {SHIPPED_SHA256}:
            return PIMA
        return TableFacts(self.floors["n_rows"], self.floors["positive_rate"]) if "n_rows" in self.floors else None

    @cached_property
    def factors(self) -> list[str]:
        """Settings that differ between runs: those of the request first, in its order."""
        if self.frame.empty:
            return []
        found = swept(self.frame)
        asked = [key for key in (self.manifest.swept_keys if self.manifest else ()) if key in found]
        return [*asked, *(key for key in found if key not in asked)]

    @cached_property
    def counts(self) -> dict[str, int]:
        """Runs planned, finished, and by status."""
        status = self.frame["status"].value_counts()
        counts = {name: int(status.get(name, 0)) for name in ("completed", "diverged", "failed")}
        finished = counts["completed"] + counts["diverged"]
        planned = len(self.manifest.run_ids) if self.manifest else len(self.frame)
        return {"planned": max(planned, len(self.frame)), "finished": finished, **counts}

    @property
    def progress(self) -> str:
        """`1,099 of 1,100 runs finished; 2 diverged, 1 failed`."""
        counts = self.counts
        others = ", ".join(f"{counts[name]:,} {name}" for name in ("diverged", "failed") if counts[name])
        return f"{counts['finished']:,} of {counts['planned']:,} runs finished{'; ' if others else ''}{others}"

    @cached_property
    def together(self) -> str:
        """Whether any completion makes all primary claims true."""
        claims = [verdict.claim for verdict in self.verdicts]
        return holding_together(self.robustness, claims)[0]

    @cached_property
    def command(self) -> str:
        """The last command that trained a sweep of this study; empty where Hydra's own record is not plain."""
        path = self.folder / "multirun.yaml"
        try:
            if path.is_symlink() or path.stat().st_size > LARGEST_BYTES:
                return ""
            found = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
            task = found["hydra"]["overrides"]["task"]  # type: ignore[index,call-overload]
            return "pima-hp-train -m " + " ".join(map(str, task)) if isinstance(task, list) else ""
        except Exception:  # noqa: BLE001 - another's file; nothing of it is needed
            return ""

    @cached_property
    def versions(self) -> list[dict[str, str]]:
        """Each set of versions that some run was trained with."""
        return [json.loads(text) for text in sorted(set(self.frame["versions"].dropna())) if text]


def read_floors(folder: Path) -> dict[str, Any]:
    """What `floors.json` holds; empty where it is missing or is not what this project writes."""
    path = folder / FLOORS
    try:
        if path.is_symlink() or path.stat().st_size > LARGEST_BYTES:
            return {}
        content = json.loads(path.read_bytes())
        rows = [[str(row["splits"]), str(row["name"]), *(float(row[key]) for key in ("accuracy", "lower", "upper"))]
                for row in content["floors"]]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return content if rows and isinstance(content, dict) else {}
