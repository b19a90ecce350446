"""Streams of random numbers: the only place of the project that makes a generator."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch


class Role(IntEnum):
    """What a stream of random numbers is for; each role of a run has a stream of its own.

    `NOISE` is what torch's global generator gives while a run trains, such as to dropout; its seed is that of `INIT`.
    """

    # One odd constant a role: the same seed gives unrelated numbers in each of them.
    INIT = 0x9E3779B1
    SPLIT = 0x85EBCA77
    ORDER = 0xC2B2AE3D
    NOISE = 0x27D4EB2F


def _mix(value: int) -> int:
    """Scramble 32 bits one-to-one (the finalizer of MurmurHash3 by A. Appleby, public domain)."""
    value ^= value >> 16
    value = value * 0x85EBCA6B & 0xFFFFFFFF
    value ^= value >> 13
    value = value * 0xC2B2AE35 & 0xFFFFFFFF
    return value ^ value >> 16


def stream(seed: int, role: Role) -> torch.Generator:
    """Return the generator of one role of a run, on the CPU.

    torch's CPU generator keeps 32 bits of its seed, so the seed is mapped one-to-one onto 32 bits:
    two seeds of one role can never share a stream, and neighboring seeds start far apart.

    Args:
        seed: 0 to 2**32 - 1; 0 is a seed like any other.
        role: what the numbers are for.

    >>> torch.equal(torch.rand(3, generator=stream(0, Role.INIT)), torch.rand(3, generator=stream(0, Role.INIT)))
    True
    """
    return torch.Generator().manual_seed(_mix(seed ^ role))


@contextmanager
def seeded(seed: int, role: Role) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python in this block; after it they are as they were before."""
    own = _mix(seed ^ role)
    of_python, of_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 -- code of others may use it
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(own)
        random.seed(own)
        np.random.seed(own)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)  # noqa: NPY002
