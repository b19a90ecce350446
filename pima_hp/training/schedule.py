"""Group runs into stacks, train them, and isolate the runs that fail."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from pima_hp.errors import EngineError, StudyError
from pima_hp.run import CURVE_KEYS, LearningCurves, Run, RunRecord, RunStatus
from pima_hp.training.engines import CSV_WANTED, SOLO_WANTED, engine_of, load_kernel, train_stack
from pima_hp.training.interruption import asked_to_stop
from pima_hp.training.progress import Progress
from pima_hp.training.stack_key import stack_key
from pima_hp.versions import versions

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

MakeLoggers = Callable[[Run], Sequence["Logger"]]

log = logging.getLogger(__name__)


def stacks_of(runs: Sequence[Run], *, together: bool, csv: bool = False) -> tuple[list[list[Run]], list[Run]]:
    """Divide runs into stacks and those that are trained alone.

    Args:
        runs: in the order asked for.
        together: they are runs of a sweep, or replicates: stacked even when only one of them is missing, so
            that a run is trained in the same way whatever was trained before it. Otherwise there is one run,
            and `trainer.engine=auto` stacks it only for the fused engine.
        csv: that one run is to be logged by Lightning's CSVLogger.

    Returns:
        Stacks of at most `trainer.stack_size` runs with equal keys, and the runs for solo training.
    """
    alone, groups = [], dict[str, list[Run]]()
    reasons: dict[str, int] = {}
    for run in runs:
        engine, reason = engine_of(run.config, alone=not together, csv=csv)
        if engine == "solo":
            alone.append(run)
            reasons[reason] = reasons.get(reason, 0) + 1
        else:
            groups.setdefault(stack_key(run.config), []).append(run)
    for reason, count in reasons.items():
        level = logging.INFO if reason in (CSV_WANTED, SOLO_WANTED) else logging.WARNING
        log.log(level, "%d %s trained one at a time: %s", count, "run is" if count == 1 else "runs are", reason)
    stacks = []
    for group in groups.values():
        size = group[0].config.trainer.stack_size
        stacks += [group[start : start + size] for start in range(0, len(group), size)]
    return stacks, alone


def trained(
    runs: Sequence[Run],
    progress: Progress,
    *,
    together: bool,
    csv: bool = False,
    loggers: MakeLoggers = lambda _: (),
) -> Iterator[list[RunRecord]]:
    """Train runs and yield the records of each stack, or of each run alone, as soon as it is finished.

    An error in a stack is not the end of a sweep: the stack is halved until the runs that raise it stand
    alone, and these are recorded as failed (memory that runs out is cured by the same means).

    Args:
        runs: in the order asked for.
        progress: counts finished runs.
        together: see `stacks_of`.
        csv: see `stacks_of`.
        loggers: makes the Lightning loggers of a run that is trained alone.
    """
    if not together:
        load_kernel(runs, csv=csv)
    stacks, alone = stacks_of(runs, together=together, csv=csv)
    for stack in stacks:
        yield from _stack_or_halves(stack, progress)
    for run in alone:
        yield [_alone(run, progress, loggers)]


def _stack_or_halves(stack: list[Run], progress: Progress) -> Iterator[list[RunRecord]]:
    done_before = progress.done
    try:
        records = train_stack(stack, progress)
    except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 -- any error of a run is its result
        _let_through(error)
        progress.rewind(done_before)
        if len(stack) == 1:
            progress.advance(1)
            yield [failed(stack[0], error)]
            return
        log.warning("a stack of %d runs raised %r: it is halved", len(stack), error)
        middle = len(stack) // 2
        yield from _stack_or_halves(stack[:middle], progress)
        yield from _stack_or_halves(stack[middle:], progress)
    else:
        yield records


def _alone(run: Run, progress: Progress, loggers: MakeLoggers) -> RunRecord:
    from pima_hp.training.callbacks import EpochProgress  # these two bring in Lightning, a second and more
    from pima_hp.training.solo import train_solo

    done_before = progress.done
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as fast for one small network, and not slowed by whatever else the machine does
    try:
        record = train_solo(run.config, run.seeds, loggers=loggers(run), callbacks=[EpochProgress(progress)])
    except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 -- any error of a run is its result
        _let_through(error)
        record = failed(run, error)
    finally:
        torch.set_num_threads(n_threads)
    progress.rewind(done_before)
    progress.advance(1)
    return record


def _let_through(error: BaseException) -> None:
    """Re-raise errors that do not belong to a single run.

    They are a changed data file, an engine that cannot be used, or a request to stop, even if Lightning wrapped it.
    """
    if stop := asked_to_stop(error):
        raise stop
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
        raise error.__context__
    if isinstance(error, StudyError | EngineError):
        raise error


def failed(run: Run, error: BaseException) -> RunRecord:
    """Return the record of a run that raised an error: no curves, no scores, and what was said."""
    log.error("run %s failed", run.id, exc_info=error)
    nothing = np.full(run.config.trainer.max_epochs, np.nan)
    message = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
    return RunRecord(
        config=run.config,
        seeds=run.seeds,
        status=RunStatus.FAILED,
        curves=LearningCurves(**dict.fromkeys(CURVE_KEYS, nothing)),
        scores={},
        n_updates=0,
        message=message,
        versions=versions(),
    )
