"""What a command prints: the plan of a dry run, and at its end scores by setting, counts, and where everything lies."""

import shlex
from collections.abc import Sequence

import pandas as pd

from pima_hp.analysis.selection import copies_in_words
from pima_hp.commands.exits import printable, say
from pima_hp.commands.job import Job
from pima_hp.commands.study import missing
from pima_hp.ledger import Manifest
from pima_hp.report.comparable import COUNTED, swept
from pima_hp.report.tables import summary, text_table

_MOST_ROWS, _MOST_LABELS, _MOST_STACKS = 40, 6, 12


def print_plan(jobs: Sequence[Job], manifest: Manifest, *, together: bool) -> None:
    """Print what would be trained: configurations, runs, and how they are grouped.

    Args:
        jobs: checked.
        manifest: of the study, with these jobs.
        together: they are a sweep, or replicates.
    """
    from pima_hp.training.dispatch import stacks_of

    first = jobs[0]
    wanted = {run.id: run for job in jobs for run in job.runs}
    lacking = missing(first.folder, wanted.values())
    stacks = stacks_of(
        lacking,
        engine=first.engine.name,
        stack_size=first.engine.stack_size,
        together=together,
        only_lightning=first.only_lightning,
    )
    labels = list(dict.fromkeys(manifest.labels[job.config.id] for job in jobs))
    sizes = [(engine, len(runs)) for engine, runs in stacks if engine != "solo"]
    n_alone = sum(len(runs) for engine, runs in stacks if engine == "solo")
    groups = ", ".join(f"{size:,} {engine}" for engine, size in sizes[:_MOST_STACKS])
    more = f" and {len(sizes) - _MOST_STACKS:,} more" if len(sizes) > _MOST_STACKS else ""
    lines = [
        f"study           {first.folder}",
        f"configurations  {len(labels):,}: {_listed(labels)}",
        f"runs            {len(wanted):,}, of which {len(wanted) - len(lacking):,} are in the ledger",
        f"stacks          {len(sizes):,}{f': {groups}{more}' if sizes else ''}",
        f"one at a time   {n_alone:,}{' by Lightning' if n_alone else ''}",
    ]
    print(printable("\n".join(lines)))  # noqa: T201 -- the answer of the command


def print_summary(job: Job, asked: pd.DataFrame, n_asked: int, expected: set[str]) -> None:
    """Print (and keep) what was set in the study, then scores by setting, counts, times and paths.

    Args:
        job: the first that was asked.
        asked: the runs of the study that the command asked for.
        n_asked: how many runs that should be.
        expected: ids of the runs that the ledger lacked at the beginning.
    """
    if len(asked):
        factors = swept(asked)
        table = summary(asked, factors)
        table = table.drop(columns=[name for name in COUNTED if not table[name].any()])  # narrow terminals
        told = [text_table(table.head(_MOST_ROWS))]
        n_last = min(20, job.config.trainer.max_epochs)
        over = f"the last {n_last} epochs" if n_last > 1 else "the last epoch"
        told.append(f"final: mean over {over}, each measured at its end; ±: standard deviation over runs")
        if len(table) > _MOST_ROWS:
            told.append(f"... and {len(table) - _MOST_ROWS} more settings")
        print("\n".join(told))  # noqa: T201 -- the answer of the command
    if note := copies_in_words(asked):
        say(f"note: {note}")
    counts = asked["status"].value_counts()
    others = ", ".join(f"{count:,} {status}" for status, count in counts.items() if status != "completed")
    new = asked[asked["run_id"].isin(expected)]
    said = "nothing to train"
    if len(new):
        seconds = float(new["duration_s"].sum())
        rate = f", {len(new) / seconds:,.1f} runs per second" if len(new) > 1 and seconds else ""
        said = f"trained {counted(len(new), 'run')} in {seconds:.1f} s of training{rate}"
    say(f"{said}{'; ' if others else ''}{others}")
    if len(failed := asked[asked["status"] == "failed"]):
        say(f"{counted(len(failed), 'run')} failed; the first: {failed['message'].iloc[0]}")
    if n_lost := n_asked - len(asked):
        say(f"{counted(n_lost, 'run')} not trained; the same command trains what is missing")
    path = shlex.quote(str(job.folder))
    say(f"ledger       {path}/ledger   (pima_hp.ledger.read_study({str(job.folder)!r}))")
    checkpoints = sorted((job.folder / "checkpoints").glob("*/*.ckpt")) if n_asked == 1 else []
    if checkpoints and len(new):
        say(f"checkpoint   {shlex.quote(str(max(checkpoints, key=lambda path: path.stat().st_mtime)))}")
    if job.has_tensorboard:
        say(f"TensorBoard  tensorboard --logdir {path}/tensorboard")


def counted(count: int, noun: str) -> str:
    """Return a count and its noun: `1 run`, `1,100 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _MOST_LABELS:,} more" if len(labels) > _MOST_LABELS else ""
    return "; ".join(labels[:_MOST_LABELS]) + more
