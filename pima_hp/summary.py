"""What a command tells at its end: scores by setting, counts, and where everything lies."""

from collections.abc import Sequence

import pandas as pd

from pima_hp.report.settings import label
from pima_hp.report.tables import settings_table, summary, swept
from pima_hp.report.text import csv_text, text_table
from pima_hp.request import Request
from pima_hp.study import Study, say

_MOST_ROWS, _MOST_FACTORS = 40, 6


def print_summary(study: Study, frame: pd.DataFrame, requests: Sequence[Request]) -> None:
    """Print (and keep) what was set in each study, then scores by setting, counts, times and paths."""
    asked = frame[frame["config_id"].isin({request.configuration.config_id for request in requests})]
    if len(asked):
        factors = swept(asked)
        if factors:
            settings = settings_table(asked, {label(factor): factor for factor in factors[:_MOST_FACTORS]})
            study.keep("settings.csv", csv_text(settings))
            print(f"{text_table(settings)}\n")  # noqa: T201 -- the answer of the command
        table = summary(asked, factors)
        told = [text_table(table.head(_MOST_ROWS))]
        told.append("final: mean over the last 20 epochs, each measured at its end; ±: standard deviation over runs")
        if len(table) > _MOST_ROWS:
            told.append(f"... and {len(table) - _MOST_ROWS} more settings")
        print("\n".join(told))  # noqa: T201 -- the answer of the command
    counts = asked["status"].value_counts()
    others = ", ".join(f"{count:,} {status}" for status, count in counts.items() if status != "completed")
    if study.n_trained:
        rate = f"{study.training_s:.1f} s, {study.n_trained / study.training_s:,.1f} runs a second"
        said = f"trained {study.n_trained:,} runs in {rate}"
    else:
        said = f"{study.n_planned:,} runs trained by worker processes" if study.n_planned else "nothing to train"
    say(f"{said}{'; ' if others else ''}{others}")
    if study.n_failed:
        first = asked.loc[asked["status"] == "failed", "message"].iloc[0]
        say(f"{study.n_failed:,} runs failed; the first: {first}")
    say(f"ledger       {study.folder / 'ledger'}   (pima_hp.ledger.read_study({str(study.folder)!r}))")
    if requests[0].logger.tensorboard:
        say(f"TensorBoard  tensorboard --logdir {study.folder / 'tensorboard'}")
