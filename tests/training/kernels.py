"""Compiled kernels in processes of their own, and what they compute."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pima_hp.training.fused import known_answers
from pima_hp.training.fused.compiled import FOLDER_VARIABLE, Kind
from pima_hp.training.fused.cpu import CPUStack
from pima_hp.training.fused.tables import NARROW, WIDE

KINDS = [Kind(lanes, dtype) for lanes in (WIDE, NARROW) for dtype in ("float32", "float64")]
KIND = KINDS[2]  # any
COMPILING = "compiling the training kernel"

# Trains the known cases with kinds in the order of the arguments, and writes the scores of each to a folder.
TRAIN = """
import sys
import numpy as np
from pima_hp.training.fused.compiled import Kind, kernel
from pima_hp.training.fused.cpu import CPUStack
from pima_hp.training.fused.known_answers import CASES, scores
kinds = [Kind(int(text.partition("x")[0]), text.partition("x")[2]) for text in sys.argv[2:]]
for kind in kinds:
    kernel(kind)
for kind in kinds:
    found = [scores(CPUStack, kind.lanes, kind.dtype, case) for case in CASES]
    np.save(f"{sys.argv[1]}/{kind.lanes}x{kind.dtype}.npy", found)
assert "numba" not in sys.modules
"""


def scores(kind: Kind) -> np.ndarray:
    return np.array([known_answers.scores(CPUStack, kind.lanes, kind.dtype, case) for case in known_answers.CASES])


def scores_alone(kind: Kind, made: Path) -> np.ndarray:
    return np.load(made / f"{kind.lanes}x{kind.dtype}.npy")


def begin(
    folder: Path, out: Path, kinds: list[Kind], before: Callable[[], object] | None = None, cwd: Path | None = None
) -> subprocess.Popen[str]:
    names = [f"{kind.lanes}x{kind.dtype}" for kind in kinds]
    environment = {**os.environ, FOLDER_VARIABLE: str(folder)}
    command = [sys.executable, "-c", TRAIN, str(out), *names]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=before, cwd=cwd)


def finish(process: subprocess.Popen[str], says: str = "") -> str:
    try:
        _, said = process.communicate(timeout=200)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == 0, said
    assert (says in said) if says else not said, said
    return said


def content_of(kind: Kind, folder: Path) -> bytes:
    return file_of(kind, folder).read_bytes()[32:]


def file_of(kind: Kind, folder: Path) -> Path:
    return folder / kind.path.name
