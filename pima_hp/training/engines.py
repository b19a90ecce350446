"""Which engine trains a run: chosen by `trainer.engine`, or by what each one knows."""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Literal

import torch

from pima_hp.config import Component, Config
from pima_hp.data.prepared import table_of
from pima_hp.data.sizes import split_sizes
from pima_hp.errors import EngineError
from pima_hp.run import Run, RunRecord
from pima_hp.training.device import device_of
from pima_hp.training.optimizers import rule_arguments
from pima_hp.training.progress import Progress
from pima_hp.training.schedulers import schedule_arguments
from pima_hp.training.stack import Stack

SOLO_WANTED = "trainer.engine=solo"
CSV_WANTED = "logger.csv=true, which is Lightning's"

log = logging.getLogger(__name__)

Engine = Literal["solo", "stacked", "fused"]


def engine_of(configuration: Config, *, alone: bool = False, csv: bool = False) -> tuple[Engine, str]:
    """Return the engine that trains a configuration here, and in words why no faster one does; no words for `fused`.

    Args:
        configuration: its `trainer.engine` is what is wanted.
        alone: it is for a single run, which is no faster in a torch stack than solo.
        csv: that run is to be logged by Lightning's CSVLogger.
    """
    wanted = configuration.trainer.engine
    if wanted == "solo":
        return "solo", SOLO_WANTED
    if reason := _why_not_stacked(configuration):
        return "solo", reason
    if wanted == "stacked":
        return "stacked", "trainer.engine=stacked"
    by_itself = alone and wanted == "auto"
    reason = CSV_WANTED if by_itself and csv else _why_not_fused(configuration)
    if not reason:
        return "fused", ""
    return ("solo" if by_itself else "stacked"), reason


def refusal_of(configuration: Config) -> str:
    """Return why the engine that is wanted cannot train a configuration here, as one line; empty when it can."""
    wanted, (engine, reason) = configuration.trainer.engine, engine_of(configuration)
    if wanted in ("auto", engine):
        return ""
    return f"trainer.engine: {wanted} cannot train this: {reason}; allowed here: auto, {engine}"


def train_stack(runs: Sequence[Run], progress: Progress | None = None) -> list[RunRecord]:
    """Train runs with equal `stack_key`s together and return their records in the same order."""
    began, n_threads = time.perf_counter(), torch.get_num_threads()
    # What surrounds the fused kernel is thousands of small operations: waking torch's threads for each costs more.
    torch.set_num_threads(1 if engine_of(runs[0].config)[0] == "fused" else n_threads)
    try:
        stack = make_stack(runs, n_threads)
        if stack.engine != "fused":
            torch.set_num_threads(n_threads)
        stack.fit(progress)
        return stack.records(time.perf_counter() - began, stack.engine)
    finally:
        torch.set_num_threads(n_threads)


def make_stack(runs: Sequence[Run], n_threads: int | None = None) -> Stack:
    """Return the stack of the engine that the runs ask for, or that suits them.

    Args:
        runs: with equal `stack_key`s.
        n_threads: of the fused engine; None: as many as torch uses.

    Raises:
        EngineError: `trainer.engine` cannot train them here.
    """
    configuration = runs[0].config
    if refusal := refusal_of(configuration):
        raise EngineError(refusal)
    engine, reason = engine_of(configuration)
    if engine != "fused":
        if configuration.trainer.engine == "auto":
            _say_once(reason)
        from pima_hp.training.stacked import TorchStack  # brings in Lightning, a second and more

        return TorchStack(runs)
    device = device_of(configuration)
    if device.type != "cpu":
        from pima_hp.training.fused.on_gpu import FusedStackOnGPU

        return FusedStackOnGPU(runs, device)
    from pima_hp.training.fused.compiled import KernelError
    from pima_hp.training.fused.on_cpu import FusedStackOnCPU

    try:
        return FusedStackOnCPU(runs, n_threads or torch.get_num_threads())
    except KernelError:  # from now on `engine_of` names another engine, and this as the reason
        return make_stack(runs, n_threads)


def load_kernel(runs: Sequence[Run], *, csv: bool) -> None:
    """Load or compile the kernel of a run that is trained alone, so that `engine_of` knows whether it can be used."""
    configuration = runs[0].config
    if engine_of(configuration, alone=True, csv=csv)[0] == "fused" and device_of(configuration).type == "cpu":
        from pima_hp.training.fused.compiled import KernelError, kernel
        from pima_hp.training.fused.on_cpu import kind_of

        with suppress(KernelError):
            kernel(kind_of(runs))


def _why_not_stacked(configuration: Config) -> str:
    if rule_arguments(configuration.optimizer) is None:
        return f"no update rule for {_described(configuration.optimizer)}"
    if schedule_arguments(configuration.scheduler) is None:
        return f"no schedule for {_described(configuration.scheduler)}"
    return ""


def _why_not_fused(configuration: Config) -> str:
    on_cpu = device_of(configuration).type == "cpu"
    try:
        from pima_hp.training.fused.engine import why_not_fused

        if on_cpu:
            from pima_hp.training.fused.compiled import failure

            if reason := failure(configuration.trainer.dtype):
                return reason
        else:
            from pima_hp.training.fused.on_gpu import why_not_here

            if reason := why_not_here():
                return reason
    except (ImportError, OSError) as error:
        return f"{'llvmlite' if on_cpu else 'Triton'} does not work here ({error})"
    n_train, _, _ = split_sizes(len(table_of(configuration).labels), configuration.data)
    return why_not_fused(configuration, n_train)


def _described(component: Component) -> str:
    arguments = ", ".join(f"{name}={value}" for name, value in component.arguments.items())
    return f"{component.target}({arguments})"


@cache
def _say_once(reason: str) -> None:
    log.warning("falling back to the stacked engine: %s", reason)
