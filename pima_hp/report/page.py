"""The report of a study: one page that works offline, and its figures, tables and verdicts as files."""

import base64
import hashlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from pima_hp.analysis.baselines import Baselines, baselines_table, keep_baselines
from pima_hp.analysis.claims import Claim
from pima_hp.analysis.decisions import Outcome
from pima_hp.analysis.multiverse import holding_together
from pima_hp.analysis.selection import copies_in_words
from pima_hp.analysis.verdicts import Verdict, judge, verdicts_json
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import StorageError
from pima_hp.formatting import csv_text, interval_text, label, listed, shown, with_labels
from pima_hp.ledger import Manifest, read_study
from pima_hp.ledger.files import make_folder, write_atomically
from pima_hp.report.comparable import missing, swept
from pima_hp.report.tables import cells, counts_text, estimates_table, summary
from pima_hp.run import RunStatus

HERE = Path(__file__).parent
MOST_FACTORS, MOST_ROWS = 6, 60
SEED = 0
"""Seed of the resamples: the same ledger gives the same report."""


@dataclass(frozen=True)
class Study:
    """A study as a report sees it."""

    folder: Path
    frame: pd.DataFrame  # one row per run
    manifest: Manifest | None  # what was planned; None where it is missing
    notes: Sequence[str]  # what was left out, a line each
    baselines: Sequence[Baselines]
    verdicts: Sequence[Verdict]  # of the claims, in their order

    @classmethod
    def read(cls, folder: Path, claims: Sequence[Claim], *, own_table: bool = False) -> "Study":
        """Read a study and judge the claims; `InputError` where there is none.

        Args:
            folder: of the study.
            claims: to judge.
            own_table: whether the path of a CSV file in the ledger may be opened, for the baselines: where this
                command has trained from it, not where the study may come from someone else.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            frame = read_study(folder)
        notes = [str(warning.message) for warning in caught]
        verdicts = judge(claims, frame, np.random.default_rng(SEED))
        baselines = keep_baselines(folder, frame, own_table=own_table)
        return cls(folder, frame, Manifest.read(folder), notes, baselines, verdicts)

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


def write_report(study: Study) -> Path:
    """Write `report/index.html`, `verdicts.json`, figures and tables below a study's folder, and return the page.

    Files of the same name are replaced, each of them whole.
    """
    from pima_hp.report.figures import figures_of

    frame, folder = study.frame, study.folder / "report"
    if link := next((path for path in (folder, folder / "figures", folder / "tables") if path.is_symlink()), None):
        raise StorageError(f"{str(link)!r} must be a folder of its own; found a link; remove it")
    columns = ["run_id", "config_id", "seed", "status", "stop_epoch", "message"]
    tables = {
        "verdicts": estimates_table(study.verdicts),
        "incomplete_runs": frame.loc[frame["status"] != RunStatus.COMPLETED, columns],
        "baselines": baselines_table(frame, study.baselines),
        **{f"specifications_{verdict.claim.id}": verdict.specifications for verdict in study.verdicts},
    }
    sections: list[dict[str, Any]] = []
    for place, factor in enumerate(study.factors):
        name = re.sub("[^a-z0-9]+", "_", factor.lower())[:60]
        name = f"{name}_{place}" if name in tables else name
        figures = {f"{name}_{kind}": figure for kind, figure in figures_of(frame, study.verdicts, factor).items()}
        for stem, figure in figures.items():
            write(folder / "figures" / f"{stem}.svg", figure.svg())
        tables[name] = summary(frame, [factor])
        sections.append({"name": name, "title": label(factor).capitalize(), "figures": figures})
    for name, table in tables.items():
        if len(table.columns):
            write(folder / "tables" / f"{name}.csv", csv_text(table))
    write(folder / "verdicts.json", verdicts_json(study.verdicts))
    return write(folder / "index.html", _page(study, sections, tables))


def _page(study: Study, sections: Sequence[dict[str, Any]], tables: dict[str, pd.DataFrame]) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=_printable, loader=jinja2.FileSystemLoader(HERE),
    )  # fmt: skip
    script = (HERE / "page.js").read_text(encoding="utf-8")
    verb, subject = "do" if len(study.factors) > 1 else "does", listed(map(label, study.factors)) or "one configuration"
    baselines, digests = tables["baselines"], sorted(set(study.frame.get("data_digest", ())))
    primary = {of.claim.id: of.specifications for of in study.verdicts if of.claim.family == "primary"}
    return environment.get_template("page.html").render(
        study=study, sections=sections, tables=tables, question=f"What {verb} {subject} do to a small neural network?",
        counts=counts_text(study.verdicts), copies=copies_in_words(study.frame), together=holding_together(primary),
        baselines=baselines[baselines["nearest"]].to_dict("records") if len(baselines) else [],
        shipped=digests == [SHIPPED_SHA256], digests=digests, most=MOST_ROWS, markup=Markup,
        outcomes=list(Outcome), cells=cells, interval_text=interval_text, with_labels=with_labels,
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")), script=Markup(script),  # noqa: S704 - our own files
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip


def _printable(value: Any) -> Any:
    """Return a value as the page may show it: no control characters, at most 2,000 characters."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return shown(" ".join(value.split()) if value.strip() else value, 2_000)


def write(path: Path, content: str | bytes) -> Path:
    """Write a file of the report: a reader finds the old one or the new one, whole."""
    make_folder(path.parent)
    write_atomically(path, content.encode(errors="replace") if isinstance(content, str) else content, durable=False)
    return path
