"""The compiled kernel: found in this user's cache or compiled, loaded, checked against answers that torch made.

numba's own cache can mix kernels: it names machine code by numbers that it assigns per process, so two kinds compiled
first in different processes have equal symbols (numba#7654, numba#10486). Here each kind is an object file with one
external symbol, loaded into an execution engine of its own. It is compiled in another process (`build`) and loaded by
llvmlite: a process whose kernel is in the cache does not import numba.
"""

import ctypes
import hashlib
import json
import os
import platform
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock
from typing import Any

import llvmlite.binding as llvm
import platformdirs
from filelock import FileLock, Timeout

from pima_hp.training.fused.machine import cpu, target_machine
from pima_hp.training.fused.tables import NARROW, WIDE

FOLDER_VARIABLE = "PIMA_HP_CACHE_DIR"
SYMBOL = "pima_hp_run_epochs"
"""The one name that can be seen from outside an object file."""

SOURCES = ("activations", "build", "compiled", "functions", "kernel", "machine", "rules", "simd", "tables")
"""The modules of this folder that decide what the machine code is."""

ARGUMENTS = (
    *("first", "last"),  # blocks to work on
    *("training", "scoring"),  # whether to train, whether to score the weights that were kept
    *("weights", "slots", "running", "hyperparameters", "argument"),  # (N, ..) see `rules`; argument: the activation's
    *("widths", "n_layers", "n_units", "n_parameters", "activation"),  # the network, see `kernel`
    *("rule", "flag"),  # the optimizer, see `rules.update`
    *("x", "y", "n_train", "val_x", "val_y", "n_val"),  # (N, D * n) and (N, n)
    *("order", "shuffled"),  # (N, n) rows in the order of the epoch; whether to follow it
    *("rates", "n_epochs"),  # learning rates in double (N, epochs)
    *("size", "step"),  # rows of a batch; optimizer steps made before
    *("pre", "post", "delta", "batch", "gradients"),  # memory of this call, all overwritten
    *("out", "kept"),  # (N, epochs * N_SCORES) in double, zero at first; (N, epochs * P) weights after each epoch
)
"""What the kernel is called with: whole numbers, and addresses of arrays, in this order."""

MAGIC = b"pima_hp kernel 1\n"
"""Begins a file of the cache, and what the compiling process sends; a digest of 32 bytes follows."""
_UNUSED_S = 24 * 3600.0
_PATIENCE_S = 60.0
Kernel = Callable[..., None]
"""A loaded kernel: called with the values of ARGUMENTS by name."""


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
    def stem(self) -> str:
        """How the names of its files begin."""
        return f"kernel-{self.lanes}x{self.dtype}"

    @property
    def key(self) -> str:
        """Digest of everything that decides the machine code, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps([self.lanes, self.dtype, *_surroundings()]).encode()).hexdigest()


_loaded: dict[Kind, Kernel | KernelError] = {}
_loading = Lock()


def kernel(kind: Kind) -> Kernel:
    """Return the kernel of a kind, loaded and checked; the first call in a process may compile it.

    Raises:
        KernelError: it cannot be compiled or gives wrong results here; each later call raises the same.
    """
    with _loading:
        if kind not in _loaded:
            try:
                _loaded[kind] = _checked(kind)
            except KernelError as error:
                _loaded[kind] = error
        found = _loaded[kind]
    if isinstance(found, KernelError):
        raise found
    return found


def failure(dtype: str) -> str:
    """Return why a kernel for these numbers turned out to be unusable in this process; empty where none has."""
    return next(
        (str(of) for kind, of in list(_loaded.items()) if kind.dtype == dtype and isinstance(of, KernelError)), ""
    )


def folder() -> Path:
    """Return the folder of compiled kernels: that of the environment variable, or this user's cache."""
    return Path(os.environ.get(FOLDER_VARIABLE) or platformdirs.user_cache_dir("pima_hp", appauthor=False))


def _checked(kind: Kind) -> Kernel:
    """Return a kernel that gives the known answers; one that does not is discarded and compiled again, once."""
    from pima_hp.training.fused.known_answers import wrong_answer

    for anew in (False, True):
        content = _object(kind, anew=anew)
        try:
            loaded = _load(content)
            wrong = wrong_answer(loaded, kind)
        except RuntimeError as error:
            wrong = " ".join(str(error).split())
        if not wrong:
            return loaded
        with suppress(OSError):
            _path(kind).unlink()
        if not anew:
            _tell(f"the compiled kernel for {kind} does not pass its check ({wrong}); it is compiled again")
    raise KernelError(f"the kernel compiled for {kind} does not pass its check on this machine: {wrong}")


def _object(kind: Kind, *, anew: bool = False) -> bytes:
    """Return the object file of a kind from the cache, or compile it and store it there if that is possible."""
    content = None if anew else _read(kind)
    if content is None:
        with _one_compiler(kind):
            content = None if anew else _read(kind)  # another process may have compiled it meanwhile
            if content is None:
                content = _compile(kind)
                _write(kind, content)
    return content


def _path(kind: Kind) -> Path:
    return folder() / f"{kind.stem}-{kind.key[:16]}.bin"


def _digest(kind: Kind, content: bytes) -> bytes:
    """Return the digest of an object file and its key, so that a file renamed to another kind is rejected."""
    return hashlib.sha256(kind.key.encode() + content).digest()


def _read(kind: Kind) -> bytes | None:
    """Return what the cache holds for a kind; None where that is nothing, or is not what was written."""
    path = _path(kind)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    head, content = content[: len(MAGIC) + 32], content[len(MAGIC) + 32 :]
    if head != MAGIC + _digest(kind, content):
        return None
    with suppress(OSError):
        os.utime(path)  # still in use
    return content


def _write(kind: Kind, content: bytes) -> None:
    """Store an object file, whole or not at all; remove files that nothing has used for a day."""
    path = _path(kind)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(MAGIC + _digest(kind, content) + content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        _tell_once(
            f"the kernel cannot be stored in {path.parent} ({error.strerror or error}), so every command compiles it "
            f"again; {FOLDER_VARIABLE} names another folder"
        )
        return
    for other in [*path.parent.glob("kernel-*.bin"), *path.parent.glob(".kernel-*")]:
        with suppress(OSError):  # another process may have removed it
            if time.time() - other.stat().st_mtime > _UNUSED_S:
                other.unlink()


@contextmanager
def _one_compiler(kind: Kind) -> Iterator[None]:
    """Let one process at a time compile a kind; without a lock within a minute, each compiles for itself."""
    with ExitStack() as stack:
        with suppress(OSError, NotImplementedError):  # a time-out is an OSError; not every file system has locks
            folder().mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder() / f"{kind.stem}.lock")
            try:
                stack.enter_context(lock.acquire(timeout=0.5))
            except Timeout:
                _tell(f"waiting for another process that compiles the training kernel for {kind}")
                stack.enter_context(lock.acquire(timeout=_PATIENCE_S))
        yield


def _compile(kind: Kind) -> bytes:
    """Compile a kind in a subprocess, so that its memory use and crashes do not affect this process."""
    _tell(f"compiling the training kernel for {kind}, once for this machine (about 10 s)")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    root = Path(__file__).parents[3]  # first, so that this package is compiled and not another one that is installed
    entries = [str(root), *filter(None, sys.path)]
    environment["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in entries)
    command = [sys.executable, "-P", "-m", "pima_hp.training.fused.build", str(kind.lanes), kind.dtype, kind.key]
    try:  # in a folder where no `.numba_config.yaml` of a user is read
        done = subprocess.run(command, capture_output=True, cwd=root, env=environment, check=False)  # noqa: S603
    except OSError as error:
        raise KernelError(f"the kernel cannot be compiled here: {error}") from error
    _, _, sent = done.stdout.partition(MAGIC)  # Python's start-up files may print before the marker
    if done.returncode or hashlib.sha256(sent[32:]).digest() != sent[:32]:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise KernelError(f"the kernel cannot be compiled here: {said[-1][:200]}")
    return sent[32:]


def _load(content: bytes) -> Kernel:
    """Load an object file into an execution engine of its own; RuntimeError where LLVM refuses it."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(content))
    engine.finalize_object()
    address = engine.get_function_address(SYMBOL)
    if not address:
        raise RuntimeError(f"it has no function {SYMBOL}")
    # numba's convention: a status, 0 unless something was raised; addresses of the result and of what was raised
    integers = [ctypes.c_int64] * len(ARGUMENTS)
    function: Any = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *integers)(address)

    def call(**values: int) -> None:
        result, raised = ctypes.c_int64(), ctypes.c_void_p()
        numbers = [values[name] for name in ARGUMENTS]
        if function(ctypes.addressof(result), ctypes.addressof(raised), *numbers):
            raise RuntimeError("it stopped with an error")

    call.engine = engine  # type: ignore[attr-defined]  # the machine code lives as long as its engine
    return call


@cache
def _surroundings() -> tuple[str, ...]:
    """Return what the machine code depends on besides its kind."""
    sources = hashlib.sha256()
    for name in SOURCES:
        sources.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    try:
        packages = [version(name) for name in ("numba", "llvmlite")]
    except PackageNotFoundError as error:
        raise KernelError(f"the kernel cannot be compiled here: {error.name} is not installed") from error
    machine = (llvm.get_process_triple(), *cpu())
    return (sources.hexdigest(), *machine, *packages, *platform.python_version_tuple()[:2])


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


@cache
def _tell_once(text: str) -> None:
    _tell(text)


def main() -> None:
    """Put the kernels of single precision, the default, into the cache: the last step of `scripts/setup`."""
    kinds = [Kind(lanes, "float32") for lanes in (WIDE, NARROW)]
    try:
        with ThreadPoolExecutor(len(kinds)) as pool:
            list(pool.map(_object, kinds))
    except KernelError as error:
        _tell(str(error))


if __name__ == "__main__":
    main()
