"""Which engine trains a run, which runs are trained together, and what becomes of those that fail."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from types import ModuleType

import numpy as np
import torch

from pima_hp.config import Config
from pima_hp.errors import EngineError, StudyError
from pima_hp.run import Results, Run, RunStatus
from pima_hp.training.interruption import asked_to_stop
from pima_hp.training.progress import Progress
from pima_hp.versions import versions

FASTEST_FIRST = ("fused", "stacked")
"""The engines of many runs; what neither can train, Lightning trains, one run at a time: `solo`."""

ONE_RUN = "a single run is trained by Lightning"

Solo = Callable[[Run], Results]
Stack = tuple[str, list[Run]]  # the engine, and the runs that it trains together

log = logging.getLogger(__name__)


def select(config: Config, engine: str = "auto", *, alone: bool = False, only_lightning: str = "") -> tuple[str, str]:
    """Return the engine that trains a configuration here, and in words why no faster one does; no words for `fused`.

    Args:
        config: the configuration.
        engine: what is asked for: `solo`, `stacked`, `fused`, or `auto`, the fastest that can.
        alone: it is for a single run, which `auto` leaves to Lightning: its bar, its callbacks, its loggers.
        only_lightning: why only Lightning can do what else is asked for (`logger=csv is Lightning's`); else empty.
    """
    if engine == "solo":
        return "solo", "engine=solo"
    if only_lightning:
        return "solo", only_lightning
    if engine == "auto" and alone:
        return "solo", ONE_RUN
    reason = f"engine={engine}" if engine == "stacked" else ""
    for name in FASTEST_FIRST[FASTEST_FIRST.index(engine) if engine in FASTEST_FIRST else 0 :]:
        if not (why_not := _engine(name).why_not(config)):
            return name, reason
        reason = why_not
    return "solo", reason


def refusal(config: Config, engine: str, *, only_lightning: str = "") -> str:
    """Return in one line that an engine that is asked for by name cannot train a configuration; empty when it can."""
    found, _ = select(config, engine, only_lightning=only_lightning)
    if engine in ("auto", found):
        return ""
    reason = only_lightning or _engine(engine).why_not(config)
    others = [] if only_lightning else [name for name in FASTEST_FIRST if not _engine(name).why_not(config)]
    return f"engine: {engine} cannot train this: {reason}; allowed here: {', '.join(['auto', 'solo', *others])}"


def stacks_of(
    runs: Sequence[Run], *, engine: str = "auto", stack_size: int = 512, together: bool, only_lightning: str = ""
) -> list[Stack]:
    """Divide runs into stacks of at most `stack_size`, those of the same engine and key; solo runs stand alone, last.

    Args:
        runs: in the order asked for.
        engine: see `select`.
        stack_size: the most runs of a stack.
        together: they are runs of a sweep, or replicates: stacked even when only one of them is missing, so that a run
            is trained in the same way whatever was trained before it. Otherwise there is one run.
        only_lightning: see `select`.

    Raises:
        EngineError: the engine that is asked for cannot train one of them.
    """
    found: dict[int, tuple[str, str]] = {}  # by configuration: the runs of a job share one object
    groups: dict[tuple[str, str], list[Run]] = {}
    reasons: dict[str, int] = {}
    alone: list[Run] = []
    for run in runs:
        config = run.config
        if id(config) not in found:
            chosen, reason = select(config, engine, alone=not together, only_lightning=only_lightning)
            if engine not in ("auto", chosen):
                raise EngineError(refusal(config, engine, only_lightning=only_lightning))
            found[id(config)] = (chosen, reason if chosen == "solo" else _engine(chosen).stack_key(config))
            if reason and chosen == "stacked" and engine == "auto":
                _say_once(reason)
        chosen, key = found[id(config)]
        if chosen == "solo":
            alone.append(run)
            reasons[key] = reasons.get(key, 0) + 1
        else:
            groups.setdefault((chosen, key), []).append(run)
    for reason, count in reasons.items():
        level = logging.INFO if reason in (ONE_RUN, only_lightning, "engine=solo") else logging.WARNING
        log.log(level, "%d %s trained one at a time: %s", count, "run is" if count == 1 else "runs are", reason)
    stacks = [
        (chosen, group[start : start + stack_size])
        for (chosen, _), group in groups.items()
        for start in range(0, len(group), stack_size)
    ]
    return [*stacks, *(("solo", [run]) for run in alone)]


def train(
    runs: Sequence[Run],
    *,
    engine: str = "auto",
    stack_size: int = 512,
    together: bool,
    only_lightning: str = "",
    solo: Solo,
    progress: Progress,
) -> Iterator[Results]:
    """Train runs and yield the results of each stack, or of each run alone, as soon as it is finished.

    An error in a stack is not the end of a sweep: the stack is halved until the runs that raise it stand alone, and
    these are recorded as failed (memory that runs out is cured by the same means).

    Args:
        runs: in the order asked for.
        engine: see `select`.
        stack_size: see `stacks_of`.
        together: see `stacks_of`.
        only_lightning: see `select`.
        solo: trains one run with Lightning.
        progress: counts finished runs.

    Raises:
        EngineError: the engine that is asked for cannot train one of the runs.
        StudyError: a data file has changed.
    """
    for stack in stacks_of(
        runs, engine=engine, stack_size=stack_size, together=together, only_lightning=only_lightning
    ):
        yield from _or_halves(stack, engine, solo, progress)


def failed(run: Run, error: BaseException) -> Results:
    """Return the results of a run that raised an error: no curves, no scores, and what was said."""
    log.error("run %s failed", run.id, exc_info=error)
    return Results(
        runs=[run],
        status=[RunStatus.FAILED],
        curves={},
        scores={},
        n_updates=np.zeros(1, np.int64),
        stop_epoch=np.zeros(1, np.int64),
        positive_rate=np.full(1, np.nan),
        ended_s=time.time(),
        message=f"{type(error).__name__}: {' '.join(str(error).split())}"[:500],
        versions=versions(),
    )


def _or_halves(stack: Stack, engine: str, solo: Solo, progress: Progress) -> Iterator[Results]:
    chosen, runs = stack
    done_before = progress.done
    try:
        results = _alone(runs[0], solo) if chosen == "solo" else _engine(chosen).fit_stack(runs, progress)
    except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 -- any error of a run is its result
        _let_through(error)
        progress.rewind(done_before)
        if chosen != "solo" and _engine(chosen).why_not(runs[0].config):  # its kernel turned out to be unusable
            for other in stacks_of(runs, engine=engine, stack_size=len(runs), together=True):
                yield from _or_halves(other, engine, solo, progress)
        elif len(runs) == 1:
            progress.advance(1)
            yield failed(runs[0], error)
        else:
            log.warning("a stack of %d runs raised %r: it is halved", len(runs), error)
            middle = len(runs) // 2
            yield from _or_halves((chosen, runs[:middle]), engine, solo, progress)
            yield from _or_halves((chosen, runs[middle:]), engine, solo, progress)
    else:
        progress.rewind(done_before + len(runs))  # whatever rounding has added up to
        yield results


def _alone(run: Run, solo: Solo) -> Results:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as fast for one small network, and not slowed by whatever else the machine does
    try:
        return solo(run)
    finally:
        torch.set_num_threads(n_threads)


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


def _engine(name: str) -> ModuleType:
    """Return the module of an engine: `why_not`, `stack_key`, `fit_stack`."""
    if name == "fused":
        from pima_hp.training.fused import engine as fused

        return fused
    from pima_hp.training import stacked  # brings in Lightning, a second and more

    return stacked


@cache
def _say_once(reason: str) -> None:
    log.warning("falling back to the stacked engine: %s", reason)
