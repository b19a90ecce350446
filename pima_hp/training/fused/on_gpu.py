"""The kernel on a CUDA device: the sources of the CPU's, compiled by Triton, a member in each thread of a warp.

`kernel`, `rules` and `activations` are written in the words of `simd` and `functions`; `warp` says what these words
mean in Triton, and `_SOURCES` is what Triton makes of the functions. An activation or an optimizer has one row for
both. Weights and optimizer states stay in the caches of the device or stream from its memory; nothing is exchanged
between threads.
"""

import types
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from numba.core.dispatcher import Dispatcher
from torch import Tensor

from pima_hp.run import Run
from pima_hp.training.fused import activations, kernel, rules, tables, warp
from pima_hp.training.fused.stack import FusedStack
from pima_hp.training.fused.warp import LANES, at, constant, exp, load, store

OPTIONS = {"num_warps": 1, "enable_fp_fusion": True}  # a * b + c may become one instruction, as in `simd`


def _in_triton(*modules: types.ModuleType) -> dict[str, Any]:
    """Return the functions of modules as Triton compiles them, by name.

    Each is a copy of what numba compiles, in which names mean what they mean in `warp`. Triton reads a function's
    source and looks names up among its globals, of which whole numbers must be marked as constants.
    """
    known: dict[str, Any] = {**vars(warp), "__name__": __name__}
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, int):
                known[name] = constant(value)
            elif isinstance(value, Dispatcher) and value.py_func.__module__ == module.__name__:
                known[name] = triton.jit(types.FunctionType(value.py_func.__code__, known, name))
    return known


_SOURCES = _in_triton(rules, activations, kernel)
_train_block, _score_block, _N_SCORES = (_SOURCES[name] for name in ("train_block", "score_block", "N_SCORES"))
_LANES = constant(LANES)


@triton.jit
def _of_block(array, n_rows):
    """The rows of this program's block, so many each."""
    return array + tl.program_id(0).to(tl.int64) * n_rows * _LANES


_NUMBERS = (
    "n_layers",
    "n_units",
    "n_parameters",
    "code",
    "rule",
    "n_train",
    "n_val",
    "n_epochs",
    "size",
    "tile",
    "step",
)


@triton.jit(do_not_specialize=_NUMBERS)  # else every configuration of another shape would be compiled again
def _run_epochs(
    w, slots, running, hyperparameters, argument, pre, post, delta, batch, g,
    widths, n_layers, n_units, n_parameters, code, rule, flag: tl.constexpr,
    x, y, n_train, val_x, val_y, n_val, shuffled: tl.constexpr, order, rates, n_epochs, size, tile, step, out, kept,
    n_slots: tl.constexpr, n_running: tl.constexpr, n_hyperparameters: tl.constexpr,
):  # fmt: skip
    """Train and score the block of this program; arguments as `compiled.ARGUMENTS`, pointers to the first block."""
    n_features, hidden = at(widths, 0), n_units * tile
    w, g, a = _of_block(w, n_parameters), _of_block(g, n_parameters), load(_of_block(argument, 1), 0)
    slots, running = _of_block(slots, n_slots * n_parameters), _of_block(running, n_running)
    state = (w, g, slots, running, _of_block(hyperparameters, n_hyperparameters), a)
    network = (widths, n_layers, n_units, n_parameters, code)
    train = (_of_block(x, n_features * n_train), _of_block(y, n_train), n_train)
    val = (_of_block(val_x, n_features * n_val), _of_block(val_y, n_val), n_val)
    shuffling = (shuffled, _of_block(order, n_train), _of_block(batch, (n_features + 1) * tile))
    work = (_of_block(pre, hidden), _of_block(post, hidden), _of_block(delta, hidden))
    out, kept = _of_block(out, n_epochs * _N_SCORES), _of_block(kept, n_epochs * n_parameters)
    rates = _of_block(rates, n_epochs)
    _train_block(state, network, (rule, flag), rates, n_epochs, train, shuffling, size, step, work, out, kept)
    _score_block(kept, n_epochs, network, a, train, val, work, out)


class FusedStackOnGPU(FusedStack):
    """A program of Triton for each block of LANES members."""

    def __init__(self, runs: Sequence[Run], device: torch.device) -> None:
        super().__init__(runs, LANES, device)
        self._work = self.work(self.n_blocks)

    def _launch(self, rates: Tensor, order: Tensor, out: Tensor) -> Callable[[], object]:
        n_epochs = rates.shape[1] // LANES
        kept = self.weights.new_empty(self.n_blocks, n_epochs * self.weights.shape[1])
        _run_epochs[(self.n_blocks,)](
            *(self.weights, self.slots, self.running, self.hyperparameters, self.argument, *self._work),
            *(self.shape, *self.network, *self.optimizer),
            *(*self.served["train"], self.n_rows("train"), *self.served["val"], self.n_rows("val")),
            *(bool(self.orders), order, rates, n_epochs, self.batch_size, max(self.batch_size, tables.SCORED_ROWS)),
            *(self.step, out, kept, tables.N_SLOTS, tables.N_RUNNING, tables.N_HYPERPARAMETERS),
            **OPTIONS,
        )
        return lambda: None  # whoever reads `out` waits for it


@triton.jit
def _probe(numbers):
    store(numbers, 0, exp(load(numbers, 0)))


@cache
def why_not_here() -> str:
    """Return why Triton cannot compile and run on this machine's device, in words; empty when it does."""
    try:
        probe = torch.zeros(LANES, device="cuda")
        _probe[(1,)](probe, **OPTIONS)
        return "" if bool((probe == 1.0).all()) else "Triton gives wrong results on this device"
    except Exception as error:  # noqa: BLE001 -- a driver, a C compiler, a device too old: whatever is missing
        return f"Triton does not work here ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
