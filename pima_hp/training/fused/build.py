"""Compile the kernel of one kind into an object file: `python -m pima_hp.training.fused.build 16 float32 KEY FILE`.

numba types the functions and lowers them to LLVM's language. All that the kernel needs is one module, of which only the
entry is visible from outside; LLVM optimizes and emits it once.
"""

import sys
from pathlib import Path

import llvmlite.binding as llvm
from numba import njit, types

from pima_hp.training.fused.compiled import SYMBOL, Kind, target_machine
from pima_hp.training.fused.kernel import run_block
from pima_hp.training.fused.tables import DOUBLES, NUMBERS, REALS
from pima_hp.training.fused.vector import Lanes

# Else constants are loaded before the loops, spilled, and loaded again at each step: 10 % of the time of small batches.
llvm.set_option("build", "--sink-insts-to-avoid-spills")


@njit(error_model="numpy", boundscheck=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
def run_blocks(first, last, *arguments):
    """Run blocks first .. last one after the other, all in the same memory."""
    for block in range(first, last):
        run_block(block, 0, *arguments)


def main(lanes: str, dtype: str, key: str, file: str) -> None:
    """Write the object file of a kind: optimized, with the entry under `SYMBOL` and nothing else visible.

    Args:
        lanes: of the kind.
        dtype: of the kind.
        key: that the asking process computed; another one means that this process has found other sources.
        file: to write.
    """
    kind = Kind(int(lanes), dtype)
    if kind.key != key:
        sys.exit(f"the kernel must be compiled from the sources of the asking process; found those of {__file__}")
    real, double, whole = (
        types.CPointer(Lanes(each, kind.lanes)) for each in (getattr(types, dtype), types.float64, types.int32)
    )
    arguments = [types.int64] * len(NUMBERS) + [real] * len(REALS) + [double] * len(DOUBLES)
    arguments += [whole, types.CPointer(types.int32)]
    signature = (types.int64, types.int64, types.StarArgTuple(arguments))
    run_blocks.compile(signature)
    name = run_blocks.overloads[signature].fndesc.llvm_func_name
    module = llvm.parse_assembly(run_blocks.inspect_llvm(signature))
    for item in [*module.functions, *module.global_variables]:
        if not item.is_declaration and item.name != name:
            item.linkage = "internal"
    module.get_function(name).name = SYMBOL
    machine = target_machine()
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(module, builder)
    Path(file).write_bytes(machine.emit_object(module))


if __name__ == "__main__":
    main(*sys.argv[1:])
