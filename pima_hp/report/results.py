"""What a report is made of: the runs of a study, what was planned, what the claims come to."""

import json
import re
import shlex
import stat
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from pima_hp.analysis.baselines import Baselines, baselines_table, read_baselines
from pima_hp.analysis.claims import Claim
from pima_hp.analysis.multiverse import holding_together
from pima_hp.analysis.selection import copies_in_words
from pima_hp.analysis.verdicts import Verdict, judge
from pima_hp.errors import PimaError
from pima_hp.ledger import Manifest, read_study
from pima_hp.report.tables import COUNTED, swept
from pima_hp.run import RunStatus

LARGEST_BYTES = 2**20
SEED = 0
"""Of the resamples: the same ledger gives the same report."""


@dataclass(frozen=True)
class Results:
    """A study as a report sees it."""

    folder: Path
    frame: pd.DataFrame  # one row per run
    manifest: Manifest | None  # what was asked; None where it is lost
    notes: Sequence[str]  # what was left out, a line each
    baselines: Sequence[Baselines]  # what `baselines.json` holds, made by a command that has the splits
    verdicts: Sequence[Verdict]  # of the claims, in their order

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
        verdicts = judge(claims, frame, np.random.default_rng(SEED))
        return cls(folder, frame, manifest, notes, read_baselines(folder), verdicts)

    @property
    def name(self) -> str:
        """Of the study."""
        return self.folder.resolve().name

    @cached_property
    def factors(self) -> list[str]:
        """Settings that differ between runs: those of the request first, in its order."""
        if self.frame.empty:
            return []
        asked = self.manifest.swept_keys if self.manifest else ()
        found = swept(self.frame)
        return [key for key in dict.fromkeys([*asked, *found]) if key in found]

    @cached_property
    def counts(self) -> dict[str, int]:
        """Runs planned, finished, and by status."""
        status = self.frame["status"].value_counts()
        counts = {str(name): int(status.get(name, 0)) for name in RunStatus}
        finished = sum(counts.values()) - counts[RunStatus.FAILED]
        planned = len(self.manifest.run_ids) if self.manifest else len(self.frame)
        return {"planned": max(planned, len(self.frame)), "finished": finished, **counts}

    @property
    def progress(self) -> str:
        """`1,099 of 1,100 runs finished; 2 diverged, 1 failed`."""
        counts = self.counts
        others = ", ".join(f"{counts[name]:,} {name}" for name in COUNTED.values() if counts[name])
        return f"{counts['finished']:,} of {counts['planned']:,} runs finished{'; ' if others else ''}{others}"

    @cached_property
    def copies(self) -> str:
        """How many runs are copies of others, in words; empty where none is."""
        return copies_in_words(self.frame)

    @property
    def together(self) -> str:
        """Whether any combination of choices makes all primary claims true."""
        return holding_together({v.claim.id: v.specifications for v in self.verdicts if v.claim.family == "primary"})

    @cached_property
    def baselines_table(self) -> pd.DataFrame:
        """Each configuration with each baseline: see `baselines_table` of the analysis."""
        return baselines_table(self.frame, self.baselines)

    @cached_property
    def command(self) -> str:
        """The last command that trained a sweep of this study; empty where Hydra's own record is not plain."""
        # Read as lines, not as YAML: a stranger's file may grow without end in a parser.
        text = _content(self.folder / "multirun.yaml").decode(errors="replace")
        found = re.search(r"^  overrides:\n(?:    .*\n)*?    task:\n((?:    - .*\n)+)", text, re.MULTILINE)
        items = [line.removeprefix("    - ").strip("'\"") for line in found[1].splitlines()] if found else []
        return shlex.join(["pima-hp-train", "-m", *items]) if found else ""

    @cached_property
    def versions(self) -> list[dict[str, str]]:
        """Each set of versions that some run was trained with."""
        found = []
        for text in sorted(set(self.frame["versions"].dropna())):
            with suppress(ValueError, TypeError, RecursionError):  # a stranger's ledger may say anything
                found.append({str(name): str(version) for name, version in dict(json.loads(text)).items()})
        return found


def _content(path: Path) -> bytes:
    """A small regular file; nothing of any other."""
    try:
        status = path.lstat()
        return path.read_bytes() if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_BYTES else b""
    except OSError:
        return b""
