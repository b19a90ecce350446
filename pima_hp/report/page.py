"""The report of a study: one page that works offline, and its figures, tables and verdicts as files."""

from collections.abc import Sequence
from pathlib import Path

from altair.utils.schemapi import debug_mode

from pima_hp.analysis.baselines import baselines_table
from pima_hp.analysis.multiverse import holding_together
from pima_hp.analysis.selection import copies_in_words
from pima_hp.analysis.verdicts import Verdict, verdicts_json
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import StorageError
from pima_hp.formatting import csv_text
from pima_hp.ledger.files import write_atomically
from pima_hp.report.best import best_section
from pima_hp.report.charts import Figure
from pima_hp.report.diagnosis import diagnosis_section
from pima_hp.report.factors import factor_section, single_section
from pima_hp.report.fair import fair_section
from pima_hp.report.importance import importance_section
from pima_hp.report.scaling import scaling_section
from pima_hp.report.study import Section, Study, shaped
from pima_hp.report.tables import cells, counts_text, estimates_table
from pima_hp.report.variance import variance_section
from pima_hp.report.words import TEMPLATES
from pima_hp.run import RunStatus

# In the order of the page: what only an experiment of its own can answer comes first. Sections of factors follow.
BEFORE_FACTORS = (
    fair_section, variance_section, scaling_section, importance_section, best_section, single_section,
)  # fmt: skip
# Rows of a table that the page shows, and those that it shows on demand; files have all.
FEW_ROWS, MOST_ROWS = 12, 60


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
        **{f"specifications_{of.claim.id}": of.specifications for of in verdicts},
    }
    sections = sections_of(study, verdicts, [*tables])
    tables |= {section.name: section.table for section in sections}
    primary = {of.claim.id: of.specifications for of in verdicts if of.claim.family == "primary"}
    page = TEMPLATES.get_template("page.html").render(
        study=study, verdicts=verdicts, sections=sections, tables=tables, cells=cells,
        noun=study.noun, most=MOST_ROWS, few=FEW_ROWS,
        counts=counts_text(verdicts), copies=copies_in_words(frame), together=holding_together(primary),
        shipped=study.digests == [SHIPPED_SHA256],
    )  # fmt: skip
    figures = {stem: figure for section in sections for stem, figure in section.figures.items()}
    files: dict[str, str | bytes] = {
        **{f"figures/{stem}.svg": picture(figure) for stem, figure in figures.items()},
        **{f"tables/{name}.csv": csv_text(table) for name, table in tables.items() if len(table.columns)},
        "verdicts.json": verdicts_json(verdicts),
        "index.html": page,
    }
    for name, content in files.items():
        write(folder / name, content)
    return folder / "index.html"


@debug_mode(False)  # of Altair: it checks each part of a chart as it is made, and doubles the time
def sections_of(study: Study, verdicts: Sequence[Verdict], taken: Sequence[str]) -> list[Section]:
    """Return the sections that a study has answers for, in the order of the page; `taken` are no names for them."""
    before = [section for make in BEFORE_FACTORS if (section := make(study))]
    after = [section] if (section := diagnosis_section(study)) else []
    if section and section.figures:  # who records gradients asks why
        before, after = [section, *before], []
    for factor in study.factors:
        before.append(factor_section(study, verdicts, factor, [*taken, *(of.name for of in (*before, *after))]))
    return before + after


def picture(figure: Figure) -> str:
    """Return title, caption and charts of a figure, two in a row, on white: an SVG of its own."""
    return TEMPLATES.get_template("figure.svg").render(figure=figure)


def write(path: Path, content: str | bytes) -> Path:
    """Write a file of the report: a reader finds the old one or the new one, whole."""
    write_atomically(path, content.encode(errors="replace") if isinstance(content, str) else content, durable=False)
    return path
