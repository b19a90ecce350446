"""Versions of everything that the numbers depend on; recorded with each run."""

import platform
from functools import cache
from importlib.metadata import version

import pima_hp

PACKAGES = ("torch", "lightning", "numpy", "numba", "llvmlite")


@cache
def versions() -> dict[str, str]:
    """Return name -> version of the project, Python and the packages that compute."""
    found = {name: version(name) for name in PACKAGES}
    return {"pima_hp": pima_hp.__version__, "python": platform.python_version(), **found}
