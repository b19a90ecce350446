"""This machine as LLVM knows it."""

from functools import cache

import llvmlite.binding as llvm


def target_machine() -> llvm.TargetMachine:
    """Return LLVM's description of this machine, a new one each time: an engine takes ownership of it.

    The code model is numba's: the sections of an object file may lie anywhere in memory. In the small model LLVM ends a
    process that has mapped so much memory that they are far apart.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    reloc = "static" if target.name.startswith("x86") else "default"
    return target.create_target_machine(
        cpu=cpu()[0], features=cpu()[1], opt=3, reloc=reloc, codemodel="jitdefault", jit=True
    )


@cache
def cpu() -> tuple[str, str]:
    """Return the name of this machine's processor, and which instructions it has."""
    return llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
