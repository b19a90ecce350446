"""What a command prints: the plan of a dry run, and at the end scores by setting, counts and paths."""

import shlex
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from pima_hp.analysis.selection import copies_in_words
from pima_hp.commands.exits import printable, say
from pima_hp.commands.job import Job
from pima_hp.commands.study import missing, stacks_of
from pima_hp.formatting import counted
from pima_hp.ledger import Manifest
from pima_hp.report.comparable import COUNTED, swept
from pima_hp.report.tables import summary, text_table

_MOST_ROWS, _MOST_LABELS = 40, 6


def print_plan(jobs: Sequence[Job], manifest: Manifest, *, together: bool) -> None:
    """Print what would be trained: configurations, runs, and how they are grouped.

    Args:
        jobs: checked.
        manifest: of the study, with these jobs.
        together: they are a sweep, or replicates.
    """
    first, wanted = jobs[0], {run.id: run for job in jobs for run in job.runs}
    lacking = missing(first.folder, wanted.values())
    labels = list(dict.fromkeys(manifest.labels[job.config.id] for job in jobs))
    more = f" and {len(labels) - _MOST_LABELS:,} more" if len(labels) > _MOST_LABELS else ""
    n_runs, n_stacks = Counter[str](), Counter[str]()
    for name, runs in stacks_of(jobs, lacking, together=together):
        n_runs[name] += len(runs)
        n_stacks[name] += 1
    lines = [
        f"study           {first.folder}",
        f"configurations  {len(labels):,}: {'; '.join(labels[:_MOST_LABELS])}{more}",
        f"runs            {len(wanted):,}, of which {len(wanted) - len(lacking):,} are in the ledger",
        *(f"{name:<15} {counted(n_runs[name], 'run')} in {counted(n_stacks[name], 'stack')}" for name in n_runs),
    ]
    print(printable("\n".join(lines)))  # noqa: T201 -- the answer of the command


def print_summary(job: Job, asked: pd.DataFrame, n_asked: int, n_new: int) -> None:
    """Print scores by setting, counts, times and paths.

    Args:
        job: the first that was asked.
        asked: the requested runs that the ledger holds.
        n_asked: how many runs that should be.
        n_new: how many of them this command has trained.
    """
    if len(asked):
        table = summary(asked, swept(asked))
        table = table.drop(columns=[name for name in COUNTED if not table[name].any()])  # narrow terminals
        more = f"\n... and {len(table) - _MOST_ROWS} more settings" if len(table) > _MOST_ROWS else ""
        over = "the last 20 epochs" if job.config.trainer.max_epochs > 1 else "the last epoch"
        print(f"{text_table(table.head(_MOST_ROWS))}{more}\nfinal: mean over {over}; ±: standard deviation over runs")  # noqa: T201 -- the answer of the command
    counts = asked["status"].value_counts().drop("completed", errors="ignore")
    others = "".join(f"; {count:,} {status}" for status, count in counts.items())
    say(f"trained {counted(n_new, 'run')}{others}" if n_new else f"nothing to train{others}")
    if note := copies_in_words(asked):
        say(f"note: {note}")
    if len(failed := asked[asked["status"] == "failed"]):
        say(f"{counted(len(failed), 'run')} failed; the first: {failed['message'].iloc[0]}")
    if n_lost := n_asked - len(asked):
        say(f"{counted(n_lost, 'run')} not trained; the same command trains what is missing")
    say(f"ledger       {shlex.quote(f'{job.folder}/ledger')}   (pima_hp.read_study({str(job.folder)!r}))")
    checkpoints = sorted((job.folder / "checkpoints").glob("*/*.ckpt"), key=lambda path: path.stat().st_mtime)
    if checkpoints and n_asked == n_new == 1:
        say(f"checkpoint   {shlex.quote(str(checkpoints[-1]))}")
    if job.has_tensorboard:
        say(f"TensorBoard  tensorboard --logdir {shlex.quote(f'{job.folder}/tensorboard')}")
