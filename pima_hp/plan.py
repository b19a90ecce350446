"""What a command would do: configurations, runs, stacks, time and disk."""

import time
from collections.abc import Sequence

from pima_hp.request import Request
from pima_hp.run import Run
from pima_hp.study import Study

_BYTES_A_RUN = 3_100
"""Of the ledger, measured on 100,000 runs of the factorial: 6 curves of 100 epochs, compressed."""
_MEASURED_STACKS = 6


def print_plan(requests: Sequence[Request], labels: Sequence[str], *, together: bool) -> None:
    """Print what would be trained; the time is that of one epoch of some stacks, scaled up.

    Args:
        requests: the jobs.
        labels: the name of the configuration of each.
        together: they are a sweep, or replicates.
    """
    from pima_hp.training.dispatch import stacks_of

    study = Study(requests[0].folder)
    missing = study.missing(requests)
    wanted = {run.id for request in requests for run in request.runs}
    engine = requests[0].engine
    divided = stacks_of(missing, engine=engine.name, stack_size=engine.stack_size, together=together)
    stacks = [(name, runs) for name, runs in divided if name != "solo"]
    alone = [run for name, runs in divided if name == "solo" for run in runs]
    seconds = estimated_s(stacks) + sum(_solo_s(run) for run in alone)
    configurations = {request.config.id: label for request, label in zip(requests, labels, strict=True)}
    lines = [
        f"study           {study.folder}",
        f"configurations  {len(configurations):,}: {_listed(list(configurations.values()))}",
        f"runs            {len(wanted):,}, of which {len(wanted) - len(missing):,} are in the ledger",
        f"to train        {len(missing):,} in {len(stacks):,} stacks, {len(alone):,} one at a time",
        f"time            about {_duration(seconds)} on this machine",
        f"disk            about {max(1, len(missing) * _BYTES_A_RUN // 2**20):,} MiB",
    ]
    print("\n".join(lines))  # noqa: T201 -- the answer of the command


def estimated_s(stacks: Sequence[tuple[str, Sequence[Run]]]) -> float:
    """Return the seconds that stacks take: one epoch of some of them measured, the others like their mean."""
    if not stacks:
        return 0.0
    from pima_hp.training.fused.engine import make_stack

    step = max(1, len(stacks) // _MEASURED_STACKS)
    measured = stacks[::step]
    make_stack(measured[0][1], 1).train_epochs()  # the first one also loads or compiles the kernel
    seconds = 0.0
    for _, runs in measured:
        stack = make_stack(runs, 1)
        began = time.perf_counter()
        stack.train_epochs()
        seconds += (time.perf_counter() - began) * stack.n_epochs
    return seconds / len(measured) * len(stacks)


def _solo_s(run: Run) -> float:
    """A step of solo training takes about 0.4 ms on any machine of today."""
    batch = run.config.batch.size
    n_steps = run.config.trainer.max_epochs * (1 if isinstance(batch, str) else -(-614 // batch))
    return n_steps * 4e-4


def _listed(labels: list[str]) -> str:
    return ", ".join(labels[:6]) + (f" and {len(labels) - 6:,} more" if len(labels) > 6 else "")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
