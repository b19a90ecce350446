"""What a run costs beside the kernel, by the phase, and the memory: `scripts/benchmark host [RUNS [EPOCHS]]`."""

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from pima_hp.config import Config, Seeds
from pima_hp.ledger import Ledger, Manifest
from pima_hp.run import Run
from pima_hp.training.dispatch import stacks_of
from pima_hp.training.fused.cpu import CPUStack
from pima_hp.training.fused.stack import Arguments
from pima_hp.training.fused.tables import N_SCORES
from scripts.benchmarks.timing import runs_of

REPLICATES, STACK = 100, 512
_spent: dict[str, float] = {}


@contextmanager
def _timed(phase: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    _spent[phase] = _spent.get(phase, 0.0) + time.perf_counter() - began


def _random_scores(stack: CPUStack, arguments: Arguments) -> None:
    """Correct rows are counted in whole numbers; no two losses are alike."""
    out = arguments["out"]
    assert isinstance(out, Tensor)  # noqa: S101
    out.uniform_(0, stack.n_val)
    out.view(stack.n_blocks, -1, N_SCORES, stack.lanes)[:, :, ::2].floor_()


def host() -> None:
    """Time everything but the kernel, which is replaced by random scores; 100 replicates of each configuration."""
    n_runs, n_epochs = map(int, [*sys.argv[2:4], *("20000", "1")[len(sys.argv) - 2 :]])
    torch.set_num_threads(1)
    settings = runs_of(f"trainer.max_epochs={n_epochs}", "logger=none")[0].config.model_dump(by_alias=True)
    configs = [_config(settings, place) for place in range(-(-n_runs // REPLICATES))]
    CPUStack([Run(configs[0], _seeds(seed)) for seed in range(STACK)], 1)  # loads and checks the kernel
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(CPUStack, "_launch", _random_scores):
        with _timed("runs and their ids"):
            runs = [Run(config, _seeds(seed)) for config in configs for seed in range(REPLICATES)]
            n_distinct = len({run.id for run in runs})
        with _timed("manifest"):
            Manifest.of(runs, ["optimizer.lr"]).write(Path(folder))
        with _timed("stacks chosen"):
            stacks = stacks_of(runs, stack_size=STACK, together=True)
        ledger = Ledger(folder)
        for _, members in stacks:
            with _timed("data and weights"):
                stack = CPUStack(members, 1)
            with _timed("epochs"):
                stack.fit()
            with _timed("scores and results"):
                results = stack.results()
            with _timed("ledger"):
                ledger.append(results)
        for phase, s in _spent.items():
            print(f"{phase:<22}{s / n_distinct * 1e3:8.4f} ms a run")
        whole = sum(_spent.values())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(f"{'all':<22}{whole / n_distinct * 1e3:8.4f} ms a run (at most 0.15 wanted); {n_distinct:,} runs of "
              f"{n_epochs} epochs in {whole:.1f} s, at most {peak:,.0f} MiB")  # fmt: skip
        began = time.perf_counter()
        frame = ledger.frame()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(f"read again: {len(frame):,} runs in {time.perf_counter() - began:.1f} s, at most {peak:,.0f} MiB")


def _seeds(seed: int) -> Seeds:
    return Seeds(seed=seed, init=seed, split=seed, order=seed)


def _config(settings: dict[str, Any], place: int) -> Config:
    return Config.model_validate({**settings, "optimizer": {**settings["optimizer"], "lr": 1e-3 * (1 + place / 1000)}})
