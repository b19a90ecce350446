"""What a command tells at its end: scores by setting, counts, and where everything lies."""

import shlex

import pandas as pd

from pima_hp.analysis.selection import copies_in_words
from pima_hp.report.settings import label
from pima_hp.report.tables import COUNTED, settings_table, summary, swept
from pima_hp.report.text import csv_text, text_table
from pima_hp.request import LoggerSection
from pima_hp.study import Study, say

_MOST_ROWS, _MOST_FACTORS = 40, 6


def print_summary(study: Study, asked: pd.DataFrame, logger: LoggerSection) -> None:
    """Print (and keep) what was set in each study, then scores by setting, counts, times and paths.

    Args:
        study: the study.
        asked: its runs that the command asked for.
        logger: which logs were written.
    """
    if len(asked):
        factors = swept(asked)
        if factors:
            settings = settings_table(asked, {label(factor): factor for factor in factors[:_MOST_FACTORS]})
            study.keep("settings.csv", csv_text(settings))
            print(f"{text_table(settings)}\n")  # noqa: T201 -- the answer of the command
        table = summary(asked, factors)
        table = table.drop(columns=[name for name in COUNTED if not table[name].any()])  # narrow terminals
        told = [text_table(table.head(_MOST_ROWS))]
        told.append("final: mean over the last 20 epochs, each measured at its end; ±: standard deviation over runs")
        if len(table) > _MOST_ROWS:
            told.append(f"... and {len(table) - _MOST_ROWS} more settings")
        print("\n".join(told))  # noqa: T201 -- the answer of the command
    if note := copies_in_words(asked):
        say(f"note: {note}")
    counts = asked["status"].value_counts()
    others = ", ".join(f"{count:,} {status}" for status, count in counts.items() if status != "completed")
    n_new = len(study.expected & set(asked["run_id"]))
    if study.n_trained:
        rate = f"{study.training_s:.1f} s, {study.n_trained / study.training_s:,.1f} runs per second"
        said = f"trained {counted(study.n_trained, 'run')} in {rate}"
    else:
        said = f"{counted(n_new, 'run')} trained by worker processes" if n_new else "nothing to train"
    say(f"{said}{'; ' if others else ''}{others}")
    if len(failed := asked[asked["status"] == "failed"]):
        say(f"{counted(len(failed), 'run')} failed; the first: {failed['message'].iloc[0]}")
    if n_lost := study.n_unfinished - len(failed):
        say(f"{counted(n_lost, 'run')} not trained; the same command trains what is missing")
    path = shlex.quote(str(study.folder))
    say(f"ledger       {path}/ledger   (pima_hp.ledger.read_study({str(study.folder)!r}))")
    if logger.tensorboard:
        say(f"TensorBoard  tensorboard --logdir {path}/tensorboard")


def counted(count: int, noun: str) -> str:
    """Return a count and its noun: `1 run`, `1,100 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
