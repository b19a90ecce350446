"""What a command prints: the plan of a dry run, and at the end scores by setting, counts and paths."""

import math
import shlex
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from pima_hp.analysis.curves import FINAL_VALIDATION
from pima_hp.analysis.selection import by_configuration, copies_in_words, varying_settings
from pima_hp.commands.exits import answer, say
from pima_hp.commands.job import Job
from pima_hp.commands.study import missing, stacks_of
from pima_hp.formatting import counted, shown
from pima_hp.ledger import Manifest
from pima_hp.report.tables import summary, text_table

# Settings of a table; of more, the 12 best, 6 in the middle and the 12 worst are shown.
_MOST_ROWS = 40


def print_plan(jobs: Sequence[Job], manifest: Manifest) -> None:
    """Print what would be trained: configurations, runs, and how they are grouped.

    Args:
        jobs: checked.
        manifest: of the study, with these jobs.
    """
    first, wanted = jobs[0], {run.id: run for job in jobs for run in job.runs}
    lacking = missing(first.folder, wanted.values())
    labels = list(dict.fromkeys(manifest.labels[job.config.id] for job in jobs))
    stacks = stacks_of(first, lacking)
    n_stacks, n_runs = Counter(name for name, _ in stacks), Counter(name for name, runs in stacks for _ in runs)
    lines = [
        f"study           {first.folder}",
        f"configurations  {len(labels):,}: {shown('; '.join(labels), 300)}",
        f"runs            {len(wanted):,}, of which {len(wanted) - len(lacking):,} are in the ledger",
        *(f"{name:<15} {counted(n_runs[name], 'run')} in {counted(n_stacks[name], 'stack')}" for name in n_runs),
    ]
    answer("\n".join(lines))


def print_summary(job: Job, found: pd.DataFrame, n_lost: int, n_new: int) -> None:
    """Print scores by setting, counts and paths.

    Args:
        job: the first that was asked.
        found: the requested runs that the ledger holds.
        n_lost: how many requested runs it lacks.
        n_new: how many of those found this command has trained.
    """
    if len(found):
        table, note = settings_table(found)
        answer(
            f"{text_table(table)}\n{note}final: mean over the last 20 epochs at most; ±: standard deviation over runs"
        )
    counts = found["status"].value_counts().drop("completed", errors="ignore")
    others = "".join(f"; {count:,} {status}" for status, count in counts.items())
    say(f"trained {counted(n_new, 'run')}{others}" if n_new else f"nothing to train{others}")
    if note := copies_in_words(found):
        say(f"note: {note}")
    if len(failed := found[found["status"] == "failed"]):
        say(f"{counted(len(failed), 'run')} failed; the first: {failed['message'].iloc[0]}")
    if n_lost:
        say(f"{counted(n_lost, 'run')} not trained; the same command trains what is missing")
    say(f"ledger       {shlex.quote(f'{job.folder}/ledger')}   (pima_hp.read_study({str(job.folder)!r}))")
    checkpoints = sorted((job.folder / "checkpoints").glob(f"{job.runs[0].id}/*.ckpt"))
    if checkpoints and n_new == 1:
        say(f"checkpoint   {shlex.quote(str(checkpoints[0]))}")
    if job.has_tensorboard:
        say(f"TensorBoard  tensorboard --logdir {shlex.quote(f'{job.folder}/tensorboard')}")


def settings_table(found: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the summary of each setting; of very many the best, middle and worst by validation score, and a note."""
    factors, n = [*varying_settings(found)], found["config_id"].nunique()
    if n <= _MOST_ROWS:
        return summary(found, factors), ""
    means = by_configuration(found, FINAL_VALIDATION.of(found)).mean(axis=1).sort_values(ascending=False, kind="stable")
    places = [*range(12), *range(n // 2 - 3, n // 2 + 3), *range(n - 12, n)]
    table = summary(found[found["config_id"].isin(means.index[places])], factors)
    own = table.filter(like="accuracy_mean").iloc[:, -1].fillna(-math.inf)
    table.insert(0, "place", [1 + int((means > mean + 1e-9).sum()) for mean in own])  # equal means share a place
    return table.sort_values("place", kind="stable"), f"the best, middle and worst of {n:,} settings; "
