"""A study on disk, as reports read it: its runs, learning curves, verdicts and factors; one section of its report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from pima_hp.analysis.baselines import keep_baselines
from pima_hp.analysis.claims import load_claims
from pima_hp.analysis.curves import Statistic
from pima_hp.analysis.selection import varying_settings
from pima_hp.analysis.verdicts import Verdict, judge
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import InputError
from pima_hp.formatting import listed, plain
from pima_hp.ledger import Ledger, Manifest
from pima_hp.ledger.ledger import setting_columns, study_folder
from pima_hp.report.comparable import missing
from pima_hp.report.tables import SEED
from pima_hp.run import RunStatus

if TYPE_CHECKING:
    from pima_hp.report.charts import Figure  # brings in Altair, which who only reads a study does not need

# Factors with a section of their own.
MOST_FACTORS = 6


@dataclass(frozen=True)
class Study:
    """A study on disk: its runs, learning curves and verdicts.

    Attributes:
        folder: `outputs/<study>`.
        frame: one row per run, see `pima_hp.read_study`.
        manifest: what was planned; None where it is missing.
        notes: what was left out of the frame, a line each.
        own_table: whether the path of a CSV file in the ledger may be opened, for the baselines: where this command has
            trained from it, not where the study may come from someone else.
    """

    folder: Path
    frame: pd.DataFrame
    manifest: Manifest | None
    notes: Sequence[str]
    own_table: bool = False

    @classmethod
    def read(cls, study: Path | str, *, own_table: bool = False) -> Self:
        """Read a study, given by its folder or its name in `outputs`; `InputError` where there is none."""
        ledger = Ledger(study_folder(study))
        return cls(ledger.study, ledger.frame(), Manifest.read(ledger.study), ledger.damaged, own_table)

    def curves(self, key: str = "val/accuracy") -> pd.DataFrame:
        """Return a learning curve of each run: one row a run, one column an epoch (from 1)."""
        table = pd.DataFrame(self.frame[key].tolist(), index=self.frame["run_id"])
        return table.rename(columns=lambda epoch: epoch + 1)

    def best(self, key: str = "val/accuracy") -> dict[str, Any]:
        """Return the settings of the configuration with the best score: mean of its runs over the last 20 epochs.

        Of a loss, the lowest is the best. A configuration with a run that has no such score is never the best.
        """
        scores = pd.Series(Statistic(name="final_score", curve=key).of(self.frame), self.frame.index)
        means = scores.groupby(self.frame["config_id"], sort=False).agg(lambda of: of.mean(skipna=False)).dropna()
        if means.empty:
            raise InputError(f"best: needs a configuration whose runs all have {key}; found none")
        best = str(means.idxmin() if "loss" in key else means.idxmax())
        settings = self.frame.loc[self.frame["config_id"] == best, setting_columns(self.frame)].iloc[0].dropna()
        return {name: plain(value) for name, value in {**settings, key: means[best]}.items()}

    def verdicts(self, claims: Path | str | None = None) -> list[Verdict]:
        """Return the verdict of each claim of the project, and of a folder of your own claims."""
        return judge(load_claims(extra=Path(claims) if claims else None), self.frame, np.random.default_rng(SEED))

    def report(self, claims: Path | str | None = None) -> Path:
        """Write the report and return its page."""
        from pima_hp.report.page import write_report

        return write_report(self, self.verdicts(claims))

    @cached_property
    def baselines(self) -> pd.DataFrame:
        """Simpler models on the splits of the runs."""
        return keep_baselines(self.folder, self.frame, own_table=self.own_table)

    @cached_property
    def factors(self) -> list[str]:
        """Return the settings that differ between runs: those of the sweep first, in its order."""
        found, planned = varying_settings(self.frame), self.manifest.swept_keys if self.manifest else ()
        return [key for key in dict.fromkeys([*planned, *found]) if key in found][:MOST_FACTORS]

    @property
    def digests(self) -> list[str]:
        """Return the digests of the tables that the runs were trained on: several where a sweep is over tables."""
        return sorted(set(self.frame["data_digest"]))

    @property
    def data(self) -> str:
        """Return the names of these tables in a sentence: `the Pima diabetes table and my.csv`."""
        shipped = ["the Pima diabetes table"] if SHIPPED_SHA256 in self.digests else []
        paths = {Path(path).name for path in self.frame.get("data.path", ()) if isinstance(path, str)}
        return listed([*shipped, *sorted(paths)]) or "a table"

    @property
    def noun(self) -> str:
        """Return what rows are: patients in the shipped table."""
        return "patients" if self.digests == [SHIPPED_SHA256] else "rows"

    @property
    def progress(self) -> str:
        """Return `1,099 of 1,100 runs finished; 1 of 1,100 failed`."""
        n_planned = max(len(self.manifest.run_ids) if self.manifest else 0, len(self.frame))
        n_finished = int((self.frame["status"] != RunStatus.FAILED).sum())
        return "; ".join(filter(None, [f"{n_finished:,} of {n_planned:,} runs finished", missing(self.frame)]))


@dataclass(frozen=True)
class Section:
    """One question about a study, with its answer.

    Attributes:
        name: anchor on the page and stem of its files.
        question: the heading: "What matters?".
        answer: the first sentences: the answer in plain words, with numbers.
        figures: stem of a file -> figure.
        table: its first rows are shown, all are in `tables/<name>.csv`.
        note: what the columns of the table mean, methods, source.
        leads: whether it comes before the claims of the article even where most of these can be tested.
        shared: what all captions of its figures say; the page says it once, below the table.
    """

    name: str
    question: str
    answer: str
    figures: "Mapping[str, Figure]" = field(default_factory=dict)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    note: str = ""
    leads: bool = False
    shared: str = ""


def shaped(study: Study) -> Study:
    """Return a study with width and depth of the networks as two numbers in place of the list of widths, for a report.

    It is returned as it is unless several networks were trained, and in each all hidden layers are equally wide.
    """
    widths = study.frame.get("model.hidden_widths", pd.Series(dtype=object)).map(plain)
    if widths.nunique() < 2 or not all(isinstance(each, tuple) and len({*each}) == 1 for each in widths):
        return study
    shape = pd.DataFrame({"model.width": widths.str[0].astype(int), "model.depth": widths.map(len)})
    return replace(study, frame=study.frame.drop(columns="model.hidden_widths").join(shape))
