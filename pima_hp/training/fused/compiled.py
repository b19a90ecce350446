"""The compiled kernel: found in this user's cache or compiled, loaded, checked against known answers.

numba's own cache can mix kernels: it names machine code by numbers that it assigns per process, so two kinds compiled
first in different processes have equal symbols (numba#7654, numba#10486). Here each kind is an object file with one
external symbol, loaded into an execution engine of its own. It is compiled in another process (`build`) and loaded by
llvmlite: a process whose kernel is in the cache does not import numba.
"""

import ctypes
import hashlib
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import llvmlite.binding as llvm
import platformdirs

from pima_hp.training.fused.tables import ARGUMENTS, NARROW, WIDE

FOLDER_VARIABLE = "PIMA_HP_CACHE_DIR"
# The one name that can be seen from outside an object file.
SYMBOL = "pima_hp_run_blocks"

# A loaded kernel: called with `first` and `last`, the blocks to run, and the values of ARGUMENTS, all by name; arrays
# are addresses.
Kernel = Callable[..., None]

log = logging.getLogger(__name__)


class KernelError(Exception):
    """The kernel cannot be used here; the text says why, in one line."""


@dataclass(frozen=True)
class Kind:
    """What a kernel is compiled for."""

    lanes: int
    dtype: str  # float32 or float64

    def __str__(self) -> str:
        return f"{self.lanes} lanes of {self.dtype}"

    @property
    def key(self) -> str:
        """Digest of everything that decides the machine code, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps([self.lanes, self.dtype, *_surroundings()]).encode()).hexdigest()

    @property
    def path(self) -> Path:
        """Where the cache keeps the kernel."""
        return folder() / f"kernel-{self.lanes}x{self.dtype}-{self.key[:16]}.bin"


# Why the kernels of a dtype turned out to be unusable in this process.
failures: dict[str, str] = {}


@cache
def kernel(kind: Kind) -> Kernel:
    """Return the kernel of a kind, loaded and checked; the first call in a process may compile it.

    Raises:
        KernelError: it cannot be compiled or gives wrong results here; `failures` says so from now on.
    """
    from pima_hp.training.fused.cpu import CPUStack
    from pima_hp.training.fused.known_answers import check

    if kind.dtype in failures:
        raise KernelError(failures[kind.dtype])
    try:
        loaded = _load(_read(kind) or _stored(kind, _compile(kind)))
        check(partial(CPUStack, loaded=loaded), kind.lanes, kind.dtype)
    except (RuntimeError, OSError) as error:  # what LLVM, the compiler and the check raise
        with suppress(OSError):
            kind.path.unlink()
        failures[kind.dtype] = f"no kernel for {kind} on this machine: {' '.join(str(error).split())[:300]}"
        raise KernelError(failures[kind.dtype]) from error
    return loaded


def folder() -> Path:
    """Return the folder of compiled kernels: that of the environment variable, or this user's cache."""
    return Path(os.environ.get(FOLDER_VARIABLE) or platformdirs.user_cache_dir("pima_hp", appauthor=False))


def _digest(kind: Kind, content: bytes) -> bytes:
    """Return the digest of an object file and its key, so that a file renamed to another kind is rejected."""
    return hashlib.sha256(kind.key.encode() + content).digest()


def _read(kind: Kind) -> bytes:
    """Return the stored object file of a kind; nothing if there is none, or it is not what was written."""
    try:
        stored = kind.path.read_bytes()
    except OSError:
        return b""
    return stored[32:] if stored[:32] == _digest(kind, stored[32:]) else b""


def _stored(kind: Kind, content: bytes) -> bytes:
    """Store an object file, whole or not at all, and return it."""
    path = kind.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=".") as own:
            temporary = Path(own) / path.name
            temporary.write_bytes(_digest(kind, content) + content)
            temporary.replace(path)
    except OSError as error:
        log.warning("the kernel cannot be stored, so every command compiles it again: %s", error)
    return content


def _compile(kind: Kind) -> bytes:
    """Compile a kind in a subprocess, so that its memory use and crashes do not affect this process."""
    log.warning("compiling the training kernel for %s, once for this machine (about 10 s)", kind)
    # First comes this package, so that it is compiled and not another one that is installed.
    entries = [Path(__file__).parents[3], *map(Path, filter(None, sys.path))]
    path = os.pathsep.join(str(entry.absolute()) for entry in entries)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {"PYTHONPATH": path, "NUMBA_OPT": "0"}  # `build` optimizes
    command = [sys.executable, "-P", "-m", "pima_hp.training.fused.build", str(kind.lanes), kind.dtype, kind.key]
    with TemporaryDirectory() as own:  # in which no `.numba_config.yaml` of a user is read
        file = Path(own) / "kernel.o"
        done = subprocess.run([*command, file], capture_output=True, cwd=own, env=environment, check=False)  # noqa: S603
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise RuntimeError(lines[-1] if lines else f"the compiler ended with exit status {done.returncode}")
        return file.read_bytes()


def _load(content: bytes) -> Kernel:
    """Load an object file into an execution engine of its own; RuntimeError where LLVM refuses it."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(content))
    engine.finalize_object()
    address = engine.get_function_address(SYMBOL)
    if not address:
        raise RuntimeError(f"it has no function {SYMBOL}")
    # numba's convention: a status, 0 unless something was raised; addresses of the result and of what was raised
    function = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_int64] * (4 + len(ARGUMENTS)))(address)

    def call(**values: int) -> None:
        result, raised = ctypes.c_int64(), ctypes.c_int64()
        given = [values[name] for name in ("first", "last", *ARGUMENTS)]
        if function(ctypes.addressof(result), ctypes.addressof(raised), *given):
            raise RuntimeError("it stopped with an error")

    call.engine = engine  # type: ignore[attr-defined]  # the machine code lives as long as its engine
    return call


def target_machine() -> llvm.TargetMachine:
    """Return LLVM's description of this machine, a new one each time: an engine takes ownership of it.

    The code model is numba's: the sections of an object file may lie anywhere in memory. In the small model LLVM ends a
    process that has mapped so much memory that they are far apart.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    reloc = "static" if target.name.startswith("x86") else "default"
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(
        cpu=cpu, features=features, opt=3, reloc=reloc, codemodel="jitdefault", jit=True
    )


@cache
def _surroundings() -> tuple[str, ...]:
    """Return what the machine code depends on besides its kind: the sources of this folder, machine and packages."""
    sources = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(path.read_bytes())
    machine = (llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    return (sources.hexdigest(), *machine, version("numba"), version("llvmlite"), *platform.python_version_tuple()[:2])


def main() -> None:
    """Put the kernels of single precision, the default, into the cache: the last step of `scripts/setup`."""
    for lanes in (WIDE, NARROW):
        kernel(Kind(lanes, "float32"))


if __name__ == "__main__":
    main()
