"""The benchmarks name functions of the package, which no type checker sees."""

import inspect

from scripts.benchmarks.phases import PARTS


def test_every_function_that_a_benchmark_times_exists() -> None:
    assert all(inspect.isfunction(inspect.getattr_static(owner, name)) for owner, name, _ in PARTS)
