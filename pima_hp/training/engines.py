"""Which engine trains a stack: chosen by `trainer.engine`, or by what each one knows."""

import logging
import time
from collections.abc import Sequence
from functools import cache

import torch

from pima_hp.configuration import Configuration
from pima_hp.data.prepared import table_of
from pima_hp.data.sizes import split_sizes
from pima_hp.errors import ConfigurationError
from pima_hp.record import Run, RunRecord
from pima_hp.training.device import device_of
from pima_hp.training.progress import Progress
from pima_hp.training.stack import Stack

log = logging.getLogger(__name__)


def train_stack(runs: Sequence[Run], progress: Progress | None = None) -> list[RunRecord]:
    """Train runs with equal `stack_key`s together and return their records in the same order."""
    began = time.perf_counter()
    n_threads, fused = torch.get_num_threads(), not _why_not_fused_here(runs[0].configuration)
    # What surrounds the fused kernel is thousands of small operations: waking torch's threads for each costs more.
    torch.set_num_threads(1 if fused else n_threads)
    try:
        stack = make_stack(runs, n_threads)
        stack.fit(progress)
        return stack.records(time.perf_counter() - began, "fused" if fused else "stacked")
    finally:
        torch.set_num_threads(n_threads)


def make_stack(runs: Sequence[Run], n_threads: int | None = None) -> Stack:
    """Return the stack of the engine that the runs ask for, or that suits them.

    Args:
        runs: with equal `stack_key`s.
        n_threads: of the fused engine; None: as many as torch uses.

    Raises:
        ConfigurationError: `trainer.engine=fused` cannot train them here.
    """
    wanted, reason = runs[0].configuration.trainer.engine, _why_not_fused_here(runs[0].configuration)
    if reason and wanted == "fused":
        raise ConfigurationError(
            f"trainer.engine: fused cannot train this: {reason}; allowed here: auto, stacked, solo"
        )
    if reason:
        if wanted == "auto":
            _say_once(reason)
        from pima_hp.training.stacked import TorchStack  # brings in Lightning, a second and more

        return TorchStack(runs)
    device = device_of(runs[0].configuration)
    if device.type != "cpu":
        from pima_hp.training.fused.on_gpu import FusedStackOnGPU

        return FusedStackOnGPU(runs, device)
    from pima_hp.training.fused.on_cpu import FusedStackOnCPU

    return FusedStackOnCPU(runs, n_threads or torch.get_num_threads())


def _why_not_fused_here(configuration: Configuration) -> str:
    """Return why the torch engine trains a configuration, by wish or by need; empty when the fused one does."""
    return "trainer.engine=stacked" if configuration.trainer.engine == "stacked" else why_torch(configuration)


def why_torch(configuration: Configuration) -> str:
    """Return why the fused engine cannot train a configuration, in words; empty when it can."""
    on_cpu = device_of(configuration).type == "cpu"
    try:
        from pima_hp.training.fused.engine import why_not_fused

        if on_cpu:
            import pima_hp.training.fused.on_cpu  # noqa: F401
        else:
            from pima_hp.training.fused.on_gpu import why_not_here

            if reason := why_not_here():
                return reason
    except (ImportError, RuntimeError, OSError) as error:  # RuntimeError: nowhere to keep what it compiles
        return f"{'numba' if on_cpu else 'Triton'} does not work here ({error})"
    n_train, _, _ = split_sizes(len(table_of(configuration).labels), configuration.data)
    return why_not_fused(configuration, n_train)


@cache
def _say_once(reason: str) -> None:
    log.warning("the torch engine trains in place of the fused one: %s", reason)
