"""Choose the engine of each run, group runs into stacks, train them, and record those that fail."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from pima_hp.config import Config
from pima_hp.errors import EngineError, StudyError
from pima_hp.run import Array, Results, Run, RunStatus
from pima_hp.training.diagnostics import Recorder
from pima_hp.training.interruption import asked_to_stop

# The engines that train many runs at once; what neither can train, Lightning trains run by run: `solo`.
FASTEST_FIRST = ("fused", "stacked")

Solo = Callable[[Run], Results]
Stack = tuple[str, list[Run]]  # the engine, and the runs that it trains together

log = logging.getLogger(__name__)


def device_of(config: Config) -> torch.device:
    """Return the device that `trainer.accelerator` means on this machine."""
    wanted = config.trainer.accelerator
    return torch.device("cuda" if wanted == "gpu" or (wanted == "auto" and torch.cuda.is_available()) else "cpu")


def select(config: Config, engine: str = "auto", *, alone: bool = False, only_lightning: str = "") -> str:
    """Return the engine that trains a configuration.

    Args:
        config: the configuration.
        engine: the requested engine: `solo`, `stacked`, `fused`, or `auto`, the fastest that can.
        alone: it is for a single run, which `auto` leaves to Lightning: its bar, its callbacks, its loggers.
        only_lightning: why only Lightning can do it (`logger=csv`); else empty.

    Raises:
        EngineError: the requested engine cannot train it.
    """
    if engine == "solo" or (engine == "auto" and alone):
        return "solo"
    for name in FASTEST_FIRST if engine == "auto" else (engine,):
        if not (reason := only_lightning or why_not(name, config)):
            return name
        if engine != "auto":
            raise EngineError(f"engine: {name} cannot train this: {reason}; allowed here: auto, solo")
    return "solo"


def stacks_of(
    runs: Iterable[Run], *, engine: str = "auto", stack_size: int = 512, together: bool = True, only_lightning: str = ""
) -> list[Stack]:
    """Divide runs into stacks of at most `stack_size`, each of one engine and key; solo runs are stacks of one, last.

    Args:
        runs: in the requested order.
        engine: see `select`.
        stack_size: the most runs of a stack.
        together: whether they are runs of a sweep, or replicates. These are stacked even when only one of them is
            missing, so that a run is trained in the same way whatever was trained before it.
        only_lightning: see `select`.

    Raises:
        EngineError: the requested engine cannot train one of them.
    """
    chosen: dict[int, tuple[str, str]] = {}  # by configuration: the runs of a job share one object
    groups: dict[tuple[str, str], list[Run]] = {}
    reasons: dict[str, None] = {}  # why the fastest engine is not used
    for run in runs:
        config = run.config
        if id(config) not in chosen:
            name = select(config, engine, alone=not together, only_lightning=only_lightning)
            chosen[id(config)] = name, "" if name == "solo" else _engine(name).stack_key(config)
            if engine == "auto" and together and name != FASTEST_FIRST[0]:
                reasons[only_lightning or why_not(FASTEST_FIRST[0], config)] = None
        name, key = chosen[id(config)]
        groups.setdefault((name, key or str(len(groups))), []).append(run)
    for reason in reasons:
        log.warning("a slower engine is used: %s", reason)
    stacks = [
        (name, group[start : start + stack_size])
        for (name, _), group in groups.items()
        for start in range(0, len(group), stack_size)
    ]
    return sorted(stacks, key=lambda stack: stack[0] == "solo")


def train(stacks: Iterable[Stack], *, solo: Solo, progress: tqdm) -> Iterator[Results]:
    """Train stacks and yield the results of each as soon as it is finished.

    An error in a stack does not end a sweep: the stack is halved until only the runs that raise it are left, and
    these are recorded as failed. This also helps where memory runs out.

    Args:
        stacks: see `stacks_of`.
        solo: trains one run with Lightning.
        progress: counts finished runs.

    Raises:
        StudyError: a data file has changed.
        Interrupted: the user asked to stop.
    """
    for name, runs in stacks:
        done, began = progress.n, time.perf_counter()
        try:
            results = _alone(runs[0], solo) if name == "solo" else _engine(name).fit_stack(runs, progress)
        except (Exception, SystemExit, GeneratorExit) as error:
            if stop := asked_to_stop(error):
                raise stop from error
            if isinstance(error, StudyError):
                raise
            progress.n = done
            if name != "solo" and why_not(name, runs[0].config):  # its kernel turned out to be unusable
                yield from train(stacks_of(runs), solo=solo, progress=progress)
            elif len(runs) == 1:
                progress.update(1)
                yield failed(runs[0], error)
            else:
                log.warning("a stack of %d runs raised %r: it is halved", len(runs), error)
                middle = len(runs) // 2
                yield from train([(name, runs[:middle]), (name, runs[middle:])], solo=solo, progress=progress)
        else:
            progress.n = done + len(runs)  # without the rounding of the epochs' fractions
            progress.update(0)
            device = device_of(runs[0].config).type
            engine, duration_s = name if device == "cpu" else f"{name} on {device}", time.perf_counter() - began
            yield replace(results, engine=engine, duration_s=duration_s / len(runs))


def progress_bar(n_runs: int, *, shown: bool = True) -> tqdm:
    """Return a bar over runs; one epoch of a run counts 1 / epochs. Nothing is drawn where stderr is no terminal."""
    return tqdm(
        total=n_runs,
        desc="training",
        unit=" runs",
        disable=not shown or not sys.stderr.isatty(),
        bar_format="{desc} {percentage:3.0f}%|{bar}| {n:.0f}/{total} runs [{elapsed}<{remaining}, {rate_fmt}]",
        leave=False,
        mininterval=0.2,
    )


def failed(run: Run, error: BaseException) -> Results:
    """Return the results of a run that raised an error: no curves, no scores, the message."""
    log.error("run %s failed", run.id, exc_info=error)
    message = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Results([run], [RunStatus.FAILED], message=message[:500])


def results_of(
    runs: Sequence[Run],
    curves: Mapping[str, Array],
    scores: Mapping[str, Array],
    diverged_in: Array,
    n_updates: NDArray[np.int64],
    labels: torch.Tensor,
    recorder: Recorder,
    *,
    stopped_in: int | None = None,
) -> Results:
    """Return the results of M runs that were trained together; the columns may have more members.

    Args:
        runs: the first members.
        curves: key -> (M, E), which end where a run diverged.
        scores: key -> (M,) of the last weights.
        diverged_in: (M,) first epoch with a loss that is not finite, infinity if there is none.
        n_updates: (M,) optimizer steps made.
        labels: of the training rows, (M, n).
        recorder: of their diagnostics.
        stopped_in: the last epoch of runs that ended before they made all their updates.
    """
    m = len(runs)
    columns = {**curves, **recorder.curves}
    ends, epochs = diverged_in[:m], np.arange(1, curves["lr"].shape[1] + 1)
    diverged = np.isfinite(ends)
    ended = RunStatus.COMPLETED if stopped_in is None else RunStatus.STOPPED
    return Results(
        runs=list(runs),
        status=[RunStatus.DIVERGED if one else ended for one in diverged],
        curves={key: np.where(epochs < ends[:, None], curve[:m], np.nan) for key, curve in columns.items()},
        scores={key: np.where(diverged, np.nan, score[:m]) for key, score in scores.items()},
        n_updates=n_updates[:m],
        stop_epoch=np.where(diverged, ends, stopped_in or 0).astype(np.int64),
        positive_rate=labels[:m].double().mean(1).cpu().numpy(),
        initial=recorder.initial,
        n_train=labels.shape[1],
    )


def _alone(run: Run, solo: Solo) -> Results:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as fast for one small network, and not slowed by whatever else the machine does
    try:
        return solo(run)
    finally:
        torch.set_num_threads(n_threads)


def why_not(engine: str, config: Config) -> str:
    """Return why an engine of many runs cannot train a configuration here; empty when it can."""
    trainer = config.trainer
    only_lightning_knows = [
        *(node.target for node in (trainer, config.model, config.data) if node.target != node.usual),
        *(callback.target for callback in config.callbacks.values() if not callback.is_inert),
        *(f"trainer.{name}" for name in trainer.extra),
        *([] if trainer.precision in ("32-true", "64-true") else [f"trainer.precision={trainer.precision}"]),
    ]
    if only_lightning_knows:
        return f"only Lightning trains with {only_lightning_knows[0]}"
    return str(_engine(engine).why_not(config))


def _engine(name: str) -> ModuleType:
    """Return the module of an engine of many runs: `why_not`, `stack_key`, `fit_stack`."""
    return import_module(f"pima_hp.training.{'fused.engine' if name == 'fused' else name}")
