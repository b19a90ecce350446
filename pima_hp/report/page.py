"""The report of a study: one page that works offline, and its figures, tables and verdicts as files."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from pima_hp.analysis.baselines import baselines_table
from pima_hp.analysis.multiverse import holding_together
from pima_hp.analysis.selection import COUNTED, copies_in_words
from pima_hp.analysis.verdicts import Verdict, verdicts_json
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import StorageError
from pima_hp.formatting import csv_text, interval_text, label, listed, shown, with_labels
from pima_hp.ledger.files import write_atomically
from pima_hp.report.best import best_section
from pima_hp.report.charts import Figure
from pima_hp.report.diagnosis import diagnosis_section
from pima_hp.report.factors import factor_section, single_section
from pima_hp.report.fair import fair_section
from pima_hp.report.importance import importance_section
from pima_hp.report.study import Section, Study, shaped
from pima_hp.report.tables import cells, counts_text, estimates_table
from pima_hp.report.variance import variance_section
from pima_hp.run import RunStatus

# In the order of the page: what only an experiment of its own can answer comes first. Sections of factors follow.
BEFORE_FACTORS = (fair_section, variance_section, importance_section, best_section, single_section)


def _printable(value: Any) -> Any:
    """Return a value as the page may show it: no control characters, at most 2,000 characters."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return shown(" ".join(value.split()) if value.strip() else value, 2_000)


# Rows of a table that the page shows, and those that it shows on demand; files have all.
FEW_ROWS, MOST_ROWS = 12, 60
TEMPLATES = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    finalize=_printable, loader=jinja2.PackageLoader("pima_hp", "report"),
)  # fmt: skip


def write_report(study: Study, verdicts: Sequence[Verdict]) -> Path:
    """Write `report/index.html`, `verdicts.json`, figures and tables below a study's folder, and return the page.

    Files of the same name are replaced, each of them whole.
    """
    study = shaped(study)
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
    sections = sections_of(study, verdicts, [*tables])
    tables |= {section.name: section.table for section in sections}
    for section in sections:
        for stem, figure in section.figures.items():
            write(folder / "figures" / f"{stem}.svg", picture(figure))
    for name, table in tables.items():
        if len(table.columns):
            write(folder / "tables" / f"{name}.csv", csv_text(table))
    write(folder / "verdicts.json", verdicts_json(verdicts))
    baselines, digests = tables["baselines"], sorted(set(frame.get("data_digest", ())))
    primary = {of.claim.id: of.specifications for of in verdicts if of.claim.family == "primary"}
    page = TEMPLATES.get_template("page.html").render(
        study=study, verdicts=verdicts, sections=sections, tables=tables, cells=cells, told=told,
        noun=study.noun, most=MOST_ROWS, few=FEW_ROWS,
        question=title(study.factors, frame),
        counts=counts_text(verdicts), copies=copies_in_words(frame), together=holding_together(primary),
        baselines=baselines[baselines["nearest"]].to_dict("records") if len(baselines) else [],
        shipped=digests == [SHIPPED_SHA256], digests=digests, interval_text=interval_text, with_labels=with_labels,
    )  # fmt: skip
    return write(folder / "index.html", page)


def sections_of(study: Study, verdicts: Sequence[Verdict], taken: Sequence[str]) -> list[Section]:
    """Return the sections that a study has answers for, in the order of the page; `taken` are no names for them."""
    before = [section for make in BEFORE_FACTORS if (section := make(study))]
    after = [section] if (section := diagnosis_section(study)) else []
    for factor in study.factors:
        before.append(factor_section(study, verdicts, factor, [*taken, *(of.name for of in (*before, *after))]))
    return before + after


def title(factors: Sequence[str], frame: pd.DataFrame) -> str:
    """Return the question of a study, with its data: `What does batch size do to a small network on my.csv?`."""
    paths = {Path(str(path)).name for path in frame.get("data.path", pd.Series(dtype=object)).dropna()}
    shipped = {SHIPPED_SHA256} & set(frame.get("data_digest", ()))
    data = listed([*(["the Pima diabetes table"] if shipped else []), *sorted(paths)]) or "a table"
    if not factors:
        return f"How well does a small neural network learn {data}?"
    verb = "do" if len(factors) > 1 else "does the"
    return f"What {verb} {listed(map(label, factors))} do to a small neural network on {data}?"


def told(table: pd.DataFrame) -> pd.DataFrame:
    """Return what the page shows of a table: no identities, no counts that are 0 in all its rows."""
    empty = [name for name in COUNTED if name in table and not table[name].any()]
    return table.drop(columns=["config_id", *empty], errors="ignore")


def picture(figure: Figure) -> str:
    """Return title, caption and charts of a figure, two in a row, on white: an SVG of its own."""
    return TEMPLATES.get_template("figure.svg").render(figure=figure, caption=textwrap.wrap(figure.caption, 95))


def write(path: Path, content: str | bytes) -> Path:
    """Write a file of the report: a reader finds the old one or the new one, whole."""
    write_atomically(path, content.encode(errors="replace") if isinstance(content, str) else content, durable=False)
    return path
