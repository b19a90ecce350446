"""All figures and tables of a study, drawn into its folder."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from pima_hp.report.figures import MAJORITY, learning_curves, overlaid_curves, save
from pima_hp.report.tables import settings_table, summary
from pima_hp.report.text import write_csv


def draw_study(
    frame: pd.DataFrame, folder: Path, studies: Mapping[str, str], *, majority: float | None = MAJORITY
) -> list[Path]:
    """Draw `figures/<title>.png` and `.svg`, write `tables/<title>.csv`, for each study (title -> factor).

    Args:
        frame: one row a run, as the ledger gives it; the runs of several studies may share it.
        folder: of the report; `figures` and `tables` are made in it, files of the same name replaced.
        studies: title of each study and the setting it is about: `{"Batch size": "batch.size"}`.
        majority: accuracy of always predicting the more frequent class; None for no line.

    Returns:
        The files written; the table of all settings, `tables/settings.csv`, last.
    """
    written: list[Path] = []
    names = file_names(studies)
    for title, factor in studies.items():
        figures, tables = folder / "figures" / names[title], folder / "tables" / f"{names[title]}.csv"
        written += save(learning_curves(frame, factor, title, majority=majority), figures)
        overlaid = overlaid_curves(frame, factor, title, majority=majority)
        written += save(overlaid, figures.with_name(f"{figures.name}_overlaid"))
        written.append(write_csv(summary(frame, factor), tables))
    written.append(write_csv(settings_table(frame, studies), folder / "tables" / "settings.csv"))
    return written


def file_names(titles: Iterable[str]) -> dict[str, str]:
    """A file name for each title, all different: `Batch size` -> `batch_size`."""
    names: dict[str, str] = {}
    for title in titles:
        plain = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:60] or "study"
        # `settings` is the table of settings
        taken = {"settings", *names.values(), *(f"{name}_overlaid" for name in names.values())}
        names[title] = next(
            name for name in (plain, *(f"{plain}_{n}" for n in range(2, len(taken) + 3))) if name not in taken
        )
    return names
