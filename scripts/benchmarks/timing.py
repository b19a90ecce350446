"""Interleaved timing: contestants take turns in one process, so that a noisy machine is noisy for all of them."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping

from pima_hp.run import Run
from tests.conftest import job_of


def runs_of(*overrides: str) -> list[Run]:
    """Return the runs that `pima-hp-train OVERRIDES` asks for, on the CPU unless they say otherwise."""
    return job_of("trainer=cpu", *overrides).runs


def medians(contestants: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, float]:
    """Let each contestant run in turn, `repetitions` times; return the median of what each one returned."""
    seen: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repetitions):
        for name, contestant in contestants.items():
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{turn + 1}/{repetitions} {name:<40}")
            seen[name].append(contestant())
    if sys.stderr.isatty():
        sys.stderr.write("\r" + " " * 60 + "\r")
    return {name: statistics.median(values) for name, values in seen.items()}


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
