"""Where the seconds and the memory of a whole command go: its parts timed from outside, while it runs."""

import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

import hydra.core.utils

from pima_hp.commands import study, summary
from pima_hp.commands.compose import ComposedJobs
from pima_hp.commands.exits import exit_code
from pima_hp.commands.hydra_callback import StudyCallback
from pima_hp.commands.main import main
from pima_hp.ledger import Ledger
from pima_hp.training.fused import engine
from pima_hp.training.fused.stack import Stack

# Owner and name of each function that is timed, and what it does.
PARTS: list[tuple[Any, str, str]] = [
    (ComposedJobs, "get_all", "jobs composed"),
    (StudyCallback, "on_sweep_start", "jobs checked and planned"),
    (engine, "make_stack", "stacks prepared"),
    (Stack, "results", "final scores and results"),
    (Ledger, "append", "results written to the ledger"),
    (hydra.core.utils, "run_job", "jobs published by Hydra"),
    (Ledger, "frame", "ledger read"),
    (study, "publish", "runs.csv and TensorBoard written"),
    (summary, "print_summary", "summary"),
    (Stack, "fit", "trained"),
]

_spent: Counter[str] = Counter()
_within: list[float] = []


def factorial() -> None:
    """Time the parts of `pima-hp-train -m experiment=factorial n_replicates=100`, or of the arguments that follow."""
    with tempfile.TemporaryDirectory() as folder:
        _timed_command(sys.argv[2:] or ["-m", "experiment=factorial", "n_replicates=100", f"outputs={folder}"])


def _timed_command(arguments: list[str]) -> None:
    patches = [mock.patch.object(owner, name, _timed(getattr(owner, name), part)) for owner, name, part in PARTS]
    began = time.perf_counter()
    for patch in patches:
        patch.start()
    sys.argv = ["pima-hp-train", *arguments]
    code = exit_code(main.__wrapped__)  # type: ignore[attr-defined]
    whole = time.perf_counter() - began
    for _, _, part in PARTS:
        print(f"{part:<35}{_spent[part]:8.1f} s")
    print(f"{'the rest':<35}{whole - sum(_spent.values()):8.1f} s")
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{'all':<35}{whole:8.1f} s   at most {used:,.0f} MiB, exit code {code}")


def _timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
    """Add a function's own seconds to its part, without those of the parts that it calls."""

    def timed(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        _within.append(0.0)
        try:
            return function(*arguments, **options)
        finally:
            took = time.perf_counter() - began
            _spent[part] += took - _within.pop()
            if _within:
                _within[-1] += took

    return timed
