"""A section of the report: one question, its answer, the figures, the table."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from pima_hp.report.charts import Figure


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
        shared: what all captions of its figures say; the page says it once, below the table.
        leads: whether it comes before the claims of the article even where most of these can be tested.
    """

    name: str
    question: str
    answer: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    note: str = ""
    leads: bool = False
    shared: str = ""
