"""The report of a study: one page that works offline, and its figures, tables and verdicts as files."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from pima_hp.analysis.baselines import baselines_table, keep_baselines
from pima_hp.analysis.claims import load_claims
from pima_hp.analysis.multiverse import holding_together
from pima_hp.analysis.selection import copies_in_words
from pima_hp.analysis.verdicts import Verdict, judge, verdicts_json
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import InputError, StorageError
from pima_hp.formatting import csv_text, interval_text, label, listed, plain, shown, with_labels
from pima_hp.ledger import Ledger, Manifest, setting_columns, study_folder
from pima_hp.ledger.files import write_atomically
from pima_hp.report.comparable import missing, swept
from pima_hp.report.tables import SEED, cells, counts_text, estimates_table, summary
from pima_hp.run import RunStatus

if TYPE_CHECKING:
    from pima_hp.report.charts import Figure

MOST_FACTORS = 6


def _printable(value: Any) -> Any:
    """Return a value as the page may show it: no control characters, at most 2,000 characters."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return shown(" ".join(value.split()) if value.strip() else value, 2_000)


TEMPLATES = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    finalize=_printable, loader=jinja2.PackageLoader("pima_hp", "report"),
)  # fmt: skip


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
        frame = self.frame.assign(score=self.curves(key).iloc[:, -20:].mean(axis=1, skipna=False).to_numpy())
        means = frame.groupby("config_id", sort=False)["score"].agg(lambda scores: scores.mean(skipna=False)).dropna()
        if means.empty:
            raise InputError(f"best: needs a configuration whose runs all have {key}; found none")
        best = str(means.idxmin() if "loss" in key else means.idxmax())
        settings = frame[frame["config_id"] == best][setting_columns(frame)].iloc[0].dropna()
        return {name: plain(value) for name, value in {**settings, key: means[best]}.items()}

    def verdicts(self, claims: Path | str | None = None) -> list[Verdict]:
        """Return the verdict of each claim of the project, and of a folder of your own claims."""
        return judge(load_claims(extra=Path(claims) if claims else None), self.frame, np.random.default_rng(SEED))

    def report(self, claims: Path | str | None = None) -> Path:
        """Write the report and return its page."""
        return write_report(self, self.verdicts(claims))

    @cached_property
    def baselines(self) -> pd.DataFrame:
        """Simpler models on the splits of the runs."""
        return keep_baselines(self.folder, self.frame, own_table=self.own_table)

    @cached_property
    def factors(self) -> list[str]:
        """Return the settings that differ between runs: those of the sweep first, in its order."""
        found, planned = swept(self.frame), self.manifest.swept_keys if self.manifest else ()
        return [key for key in dict.fromkeys([*planned, *found]) if key in found][:MOST_FACTORS]

    @property
    def progress(self) -> str:
        """Return `1,099 of 1,100 runs finished; 1 of 1,100 failed`."""
        n_planned = max(len(self.manifest.run_ids) if self.manifest else 0, len(self.frame))
        n_finished = int((self.frame["status"] != RunStatus.FAILED).sum())
        return "; ".join(filter(None, [f"{n_finished:,} of {n_planned:,} runs finished", missing(self.frame)]))


def write_report(study: Study, verdicts: Sequence[Verdict]) -> Path:
    """Write `report/index.html`, `verdicts.json`, figures and tables below a study's folder, and return the page.

    Files of the same name are replaced, each of them whole.
    """
    from pima_hp.report.figures import figures_of

    frame, folder = study.frame, study.folder / "report"
    if link := next((path for path in (folder, folder / "figures", folder / "tables") if path.is_symlink()), None):
        raise StorageError(f"{str(link)!r} must be a folder of its own; found a link; remove it")
    columns = ["run_id", "config_id", "seed", "status", "stop_epoch", "message"]
    tables = {
        "verdicts": estimates_table(verdicts),
        "incomplete_runs": frame.loc[frame["status"] != RunStatus.COMPLETED, columns],
        "baselines": baselines_table(frame, study.baselines),
        **{f"specifications_{verdict.claim.id}": verdict.specifications for verdict in verdicts},
    }
    sections: list[dict[str, Any]] = []
    for place, factor in enumerate(study.factors):
        name = re.sub("[^a-z0-9]+", "_", factor.lower())[:60]
        name = f"{name}_{place}" if name in tables else name
        figures = {f"{name}_{kind}": figure for kind, figure in figures_of(frame, verdicts, factor).items()}
        for stem, figure in figures.items():
            write(folder / "figures" / f"{stem}.svg", picture(figure))
        tables[name] = summary(frame, [factor])
        sections.append({"name": name, "title": label(factor).capitalize(), "figures": figures})
    for name, table in tables.items():
        if len(table.columns):
            write(folder / "tables" / f"{name}.csv", csv_text(table))
    write(folder / "verdicts.json", verdicts_json(verdicts))
    verb, subject = "do" if len(study.factors) > 1 else "does", listed(map(label, study.factors)) or "one configuration"
    baselines, digests = tables["baselines"], sorted(set(frame.get("data_digest", ())))
    primary = {of.claim.id: of.specifications for of in verdicts if of.claim.family == "primary"}
    page = TEMPLATES.get_template("page.html").render(
        study=study, verdicts=verdicts, sections=sections, tables=tables, cells=cells,
        question=f"What {verb} {subject} do to a small neural network?",
        counts=counts_text(verdicts), copies=copies_in_words(frame), together=holding_together(primary),
        baselines=baselines[baselines["nearest"]].to_dict("records") if len(baselines) else [],
        shipped=digests == [SHIPPED_SHA256], digests=digests, interval_text=interval_text, with_labels=with_labels,
    )  # fmt: skip
    return write(folder / "index.html", page)


def picture(figure: "Figure") -> str:
    """Return title, caption and charts of a figure, two in a row, on white: an SVG of its own."""
    return TEMPLATES.get_template("figure.svg").render(figure=figure, caption=textwrap.wrap(figure.caption, 95))


def write(path: Path, content: str | bytes) -> Path:
    """Write a file of the report: a reader finds the old one or the new one, whole."""
    write_atomically(path, content.encode(errors="replace") if isinstance(content, str) else content, durable=False)
    return path
