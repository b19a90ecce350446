"""The kernel on a CUDA device: the sources of the CPU's kernel compiled by Triton, one member per thread of a warp.

`kernel`, `optimizers` and `activations` are written in the operations of `vector` and the functions of `functions`;
`triton_ops` implements these in Triton. Weights and optimizer states stay in the caches of the device or stream from
its memory; threads exchange nothing.
"""

import types
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from numba.core.dispatcher import Dispatcher

from pima_hp.run import Run
from pima_hp.training.fused import activations, functions, kernel, optimizers, triton_ops
from pima_hp.training.fused.known_answers import check
from pima_hp.training.fused.stack import Arguments, Stack
from pima_hp.training.fused.tables import NUMBERS
from pima_hp.training.fused.triton_ops import LANES, constant

OPTIONS = {"num_warps": 1, "enable_fp_fusion": True}  # a * b + c may become one instruction, as in `vector`
# Arguments for whose values the kernel is compiled.
SWITCHES = ("flag", "shuffled")
_VARYING = ["block", "worker", *(name for name in NUMBERS if name not in SWITCHES)]


def _in_triton(*modules: types.ModuleType) -> dict[str, Any]:
    """Return the functions of modules as Triton compiles them, by name.

    Each is a copy of what numba compiles, whose globals are those of `triton_ops`. Triton reads a function's source and
    looks names up among its globals; whole numbers there must be marked as constants.
    """
    known: dict[str, Any] = {**vars(triton_ops), "__name__": __name__}
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, int):
                known[name] = constant(value)
            elif isinstance(value, Dispatcher) and name not in known:
                function = types.FunctionType(value.py_func.__code__, known, name)
                function.__annotations__ = dict.fromkeys(SWITCHES, tl.constexpr)
                # Without `do_not_specialize` every configuration of another shape would be compiled again.
                known[name] = triton.jit(function, do_not_specialize=_VARYING)
    return known


run_block = _in_triton(functions, optimizers, activations, kernel)["run_block"]


class GPUStack(Stack):
    """A stack on a CUDA device, with a Triton program for each block of LANES members."""

    def __init__(self, runs: Sequence[Run], device: torch.device) -> None:
        super().__init__(runs, LANES, device)
        self._memory = self.memory(self.n_blocks)

    def _launch(self, arguments: Arguments) -> None:
        run_block[(self.n_blocks,)](block=0, worker=0, **arguments, **self._memory, **OPTIONS)


@cache
def why_not_here(dtype: str) -> str:
    """Return why Triton cannot compile the kernel or run it right on this machine's device; empty when it can."""
    try:
        check(lambda runs: GPUStack(runs, torch.device("cuda")), LANES, dtype)
    except Exception as error:  # noqa: BLE001 -- a driver, a C compiler, a device too old, a wrong answer
        return f"Triton does not work here ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    return ""
