"""Compile the kernel of one kind into an object file: `python -m pima_hp.training.fused.build 16 float32 KEY FILE`.

numba types the functions and lowers them to LLVM's language; what the kernel needs is in one module, of which the entry
alone can be seen from outside, and that is optimized and emitted once.
"""

import sys
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
from numba import njit, types

from pima_hp.training.fused.compiled import SYMBOL, Kind, target_machine
from pima_hp.training.fused.kernel import run_block
from pima_hp.training.fused.tables import DOUBLES, NUMBERS, REALS
from pima_hp.training.fused.vector import Rows

# Else constants are loaded before the loops over steps and spilled: 10 % of the time of small batches.
llvm.set_option("build", "--sink-insts-to-avoid-spills")


@njit(error_model="numpy", boundscheck=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def run_blocks(first, last, worker, *arguments):
    """Run blocks first .. last one after the other, all in the memory of one worker."""
    for block in range(first, last):
        run_block(block, worker, *arguments)


def object_file(dispatcher: Any, arguments: tuple[Any, ...], symbol: str) -> bytes:
    """Return the object file of a function, optimized, with that function under `symbol` and nothing else.

    Args:
        dispatcher: what numba compiles.
        arguments: their numba types.
        symbol: the one name that can be seen from outside.
    """
    dispatcher.compile(arguments)
    name = dispatcher.overloads[arguments].fndesc.llvm_func_name
    module = llvm.parse_assembly(dispatcher.inspect_llvm(arguments))
    for item in [*module.functions, *module.global_variables]:
        if not item.is_declaration and item.name != name:
            item.linkage = "internal"
    module.get_function(name).name = symbol
    machine = target_machine()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    return bytes(machine.emit_object(module))


def main(lanes: str, dtype: str, key: str, file: str) -> None:
    """Write the object file of a kind.

    Args:
        lanes: of the kind.
        dtype: of the kind.
        key: that the asking process computed; another one means that this process has found other sources.
        file: to write.
    """
    kind = Kind(int(lanes), dtype)
    if kind.key != key:
        sys.exit(f"the kernel must be compiled from the sources of the asking process; found those of {__file__}")
    real, double = Rows(getattr(types, dtype), kind.lanes), Rows(types.float64, kind.lanes)
    arguments = [types.int64] * len(NUMBERS) + [real] * len(REALS) + [double] * len(DOUBLES)
    arguments += [Rows(types.int32, kind.lanes), Rows(types.int32, 1)]
    signature = (types.int64, types.int64, types.int64, types.StarArgTuple(arguments))
    Path(file).write_bytes(object_file(run_blocks, signature, SYMBOL))


if __name__ == "__main__":
    main(*sys.argv[1:])
