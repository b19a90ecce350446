"""The kernel on the CPU: a block of members in the lanes of a vector register, blocks divided over threads."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import Tensor

from pima_hp.run import Run
from pima_hp.training.fused.compiled import Kernel, Kind, kernel
from pima_hp.training.fused.stack import Arguments, Stack
from pima_hp.training.fused.tables import NARROW, WIDE


@cache
def _threads(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="fused")


class CPUStack(Stack):
    """A stack on the CPU.

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
        self._n_threads = min(n_threads, self.n_blocks)

    def _launch(self, arguments: Arguments) -> None:
        bounds = [self.n_blocks * part // self._n_threads for part in range(self._n_threads + 1)]

        def run(part: int) -> None:
            # Each thread allocates its own: memories that lie beside each other make batches of 32 20 % slower.
            own = arguments | self.memory(1)
            values = {name: each.data_ptr() if isinstance(each, Tensor) else each for name, each in own.items()}
            # Momenta of dead units fade below the smallest normal number, where processors are slow: they count as 0.
            torch.set_flush_denormal(True)
            try:
                self._kernel(first=bounds[part], last=bounds[part + 1], **values)
            finally:
                torch.set_flush_denormal(False)

        if self._n_threads == 1:
            run(0)
        else:
            list(_threads(self._n_threads).map(run, range(self._n_threads)))
