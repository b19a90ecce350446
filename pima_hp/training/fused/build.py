"""Compile the kernel of one kind: `python -m pima_hp.training.fused.build 16 float32 KEY` writes it to stdout.

numba types the functions and lowers them to LLVM's language. Its own optimization is left out: it would optimize and
emit each of some eighty helper functions, which nobody links. What the kernel needs is linked into one module, in which
the entry alone can be seen from outside, and that is optimized and emitted once.
"""

import hashlib
import inspect
import sys
from typing import Any

import llvmlite.binding as llvm
from numba import njit, types
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.registry import cpu_target

from pima_hp.training.fused.compiled import ARGUMENTS, MAGIC, SYMBOL, Kind
from pima_hp.training.fused.kernel import score_block, train_block
from pima_hp.training.fused.machine import target_machine
from pima_hp.training.fused.simd import at, load, rows_at, skip
from pima_hp.training.fused.tables import N_HYPERPARAMETERS, N_RUNNING, N_SCORES, N_SLOTS


def entry(lanes: int, dtype: str) -> Any:
    """Return the function that trains, or scores, or both, blocks first .. last for some epochs.

    Its arguments are `compiled.ARGUMENTS`; arrays come as addresses of their first block.
    """
    rows, doubles = rows_at(getattr(types, dtype), lanes), rows_at(types.float64, lanes)
    choices, numbers = rows_at(types.int32, lanes), rows_at(types.int32, 1)

    @njit(error_model="numpy", boundscheck=False)
    def run_epochs(
        first, last, training, scoring, weights, slots, running, hyperparameters, argument,
        widths, n_layers, n_units, n_parameters, activation, rule, flag,
        x, y, n_train, val_x, val_y, n_val, order, shuffled, rates, n_epochs, size, step,
        pre, post, delta, batch, gradients, out, kept,
    ):  # fmt: skip
        shapes = numbers(widths)
        n_features = at(shapes, 0)
        network = (shapes, n_layers, n_units, n_parameters, activation)
        work = (rows(pre), rows(post), rows(delta))
        for b in range(first, last):
            a = load(rows(argument), b)
            train = (skip(rows(x), b * n_features * n_train), skip(rows(y), b * n_train), n_train)
            val = (skip(rows(val_x), b * n_features * n_val), skip(rows(val_y), b * n_val), n_val)
            scores = skip(doubles(out), b * n_epochs * N_SCORES)
            history = skip(rows(kept), b * n_epochs * n_parameters)
            if training:
                w, s = skip(rows(weights), b * n_parameters), skip(rows(slots), b * N_SLOTS * n_parameters)
                r, h = skip(doubles(running), b * N_RUNNING), skip(doubles(hyperparameters), b * N_HYPERPARAMETERS)
                state, optimizer = (w, rows(gradients), s, r, h, a), (rule, flag != 0)
                shuffling = (shuffled != 0, skip(choices(order), b * n_train), rows(batch))
                steps = (skip(doubles(rates), b * n_epochs), n_epochs, train, shuffling, size, step)
                train_block(state, network, optimizer, *steps, work, scores, history)
            if scoring:
                score_block(history, n_epochs, network, a, train, val, work, scores)

    if (found := tuple(inspect.signature(run_epochs.py_func).parameters)) != ARGUMENTS:
        raise RuntimeError(f"the kernel must take {ARGUMENTS}; found {found}")
    return run_epochs


class _UnoptimizedLibrary(JITCodeLibrary):
    """Functions as numba lowers them: neither optimized nor emitted."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def finalize(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, _name: str) -> int:
        return 0  # nothing is called here


class _UnoptimizedCodegen(JITCPUCodegen):
    _library_class = _UnoptimizedLibrary

    def set_env(self, env_name: str, env: object) -> None:
        """Do nothing: no function is loaded in this process."""


def lowered(dispatcher: Any, n_arguments: int) -> tuple[llvm.ModuleRef, str]:
    """Return one module with a function of whole numbers and all that it calls, not optimized, and its name there."""
    context = cpu_target.target_context
    context.refresh()  # registers what numba implements, with its own code generator
    context._internal_codegen = _UnoptimizedCodegen("pima_hp")
    dispatcher.compile((types.int64,) * n_arguments)
    (result,) = dispatcher.overloads.values()
    module, seen, waiting = result.library._final_module, {result.library}, [*result.library._linking_libraries]
    while waiting:
        library = waiting.pop()
        if library not in seen:
            seen.add(library)
            part = library._final_module
            for function in part.functions:
                if not function.is_declaration and function.linkage == llvm.Linkage.external:
                    function.linkage = "linkonce_odr"  # numba instantiates some helpers more than once
            module.link_in(part, preserve=True)
            waiting += library._linking_libraries
    return module, result.fndesc.llvm_func_name


def emitted(module: llvm.ModuleRef, name: str, symbol: str) -> bytes:
    """Return the object file of a module, optimized, with one function of it under `symbol` and nothing else."""
    for item in [*module.functions, *module.global_variables]:
        if not item.is_declaration and item.name != name:
            item.linkage = "internal"
    module.get_function(name).name = symbol
    machine = target_machine()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    local = (llvm.Linkage.internal, llvm.Linkage.private)
    visible = [item.name for item in [*module.functions, *module.global_variables]
               if item.linkage not in local and not item.name.startswith("llvm.")]  # fmt: skip
    if visible != [symbol]:
        raise RuntimeError(f"the kernel must need nothing from outside and show {symbol} alone; found {visible}")
    return bytes(machine.emit_object(module))


def main(lanes: str, dtype: str, key: str) -> None:
    """Write the object file of a kind to standard output, after its digest.

    Args:
        lanes: of the kind.
        dtype: of the kind.
        key: that the asking process computed; another one means that this process has found other sources.
    """
    if Kind(int(lanes), dtype).key != key:
        sys.exit(f"the kernel must be compiled from the sources of the asking process; found those of {__file__}")
    module, name = lowered(entry(int(lanes), dtype), len(ARGUMENTS))
    content = emitted(module, name, SYMBOL)
    sys.stdout.buffer.write(MAGIC + hashlib.sha256(content).digest() + content)


if __name__ == "__main__":
    main(*sys.argv[1:])
