"""The kernel on the CPU: a block of members in the lanes of a vector register, blocks divided over threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

from pima_hp.run import Run
from pima_hp.training.fused.compiled import Kernel, Kind, kernel
from pima_hp.training.fused.stack import Arguments, Stack
from pima_hp.training.fused.tables import DOUBLES, INTEGERS, NARROW, WIDE

_DTYPES = {**dict.fromkeys(DOUBLES, torch.float64), **dict.fromkeys(INTEGERS, torch.int32)}


@cache
def _threads(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="fused")


class CPUStack(Stack):
    """A stack of fewer blocks than threads is scored while it trains on.

    Args:
        runs: with equal `stack_key`s.
        n_threads: to use.
        loaded: the kernel to use; by default that of this machine.

    Raises:
        KernelError: there is no kernel for these numbers on this machine.
    """

    def __init__(self, runs: Sequence[Run], n_threads: int = 1, loaded: Kernel | None = None) -> None:
        kind = Kind(NARROW if len(runs) <= NARROW else WIDE, runs[0].config.trainer.dtype)
        self._kernel = loaded or kernel(kind)
        super().__init__(runs, kind.lanes, torch.device("cpu"))
        self._n_threads, self._n_parts = n_threads, min(n_threads, self.n_blocks)

    def _launch(self, arguments: Arguments) -> Callable[[], object]:
        bounds = [self.n_blocks * part // self._n_parts for part in range(self._n_parts + 1)]

        def run(part: int, *, training: bool, scoring: bool) -> None:
            own = {**arguments, **self.memory(1), "training": training, "scoring": scoring}  # calls overlap
            # Momenta of dead units fade below the smallest normal number, where processors are slow: they count as 0.
            torch.set_flush_denormal(True)
            try:
                self._kernel(first=bounds[part], last=bounds[part + 1], **self._addresses(own))
            finally:
                torch.set_flush_denormal(False)

        pool, parts = _threads(self._n_threads), range(self._n_parts)
        apart = self._n_parts < self._n_threads and not self.looks_at_scores
        if self._n_parts == 1:
            run(0, training=True, scoring=not apart)
        else:
            list(pool.map(lambda part: run(part, training=True, scoring=not apart), parts))
        scores = [pool.submit(run, part, training=False, scoring=True) for part in parts] if apart else []
        return lambda: [score.result() for score in scores]

    def _addresses(self, arguments: Arguments) -> dict[str, int]:
        """Return where the numbers of each array begin; the kernel takes their type and order for granted."""
        for name, value in arguments.items():
            dtype = _DTYPES.get(name, self.dtype)
            if isinstance(value, Tensor) and not (value.is_contiguous() and value.dtype == dtype):
                raise ValueError(f"{name}: must be contiguous numbers of {dtype}; found {value.dtype}")
        return {name: each.data_ptr() if isinstance(each, Tensor) else each for name, each in arguments.items()}
