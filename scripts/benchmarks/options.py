"""What each option of `conf/` costs in the fused engine."""

from pima_hp.config.options import options as options_of
from pima_hp.model.mlp import INITIALIZATIONS
from pima_hp.training.fused.engine import fit_stack
from scripts.benchmarks.timing import medians, runs_of, seconds

SIZE = 128
BASE = ("batch=b5", "activation=relu", "optimizer=adam", f"n_replicates={SIZE}")


def options() -> None:
    """Runs a second of every activation, optimizer, schedule and initialization, the rest as in BASE."""
    chosen = [f"{group}={option}" for group in ("activation", "optimizer", "scheduler") for option in options_of(group)]
    chosen += [f"model.initialization={name}" for name in INITIALIZATIONS]
    took = medians({override: lambda override=override: _took(override) for override in chosen}, repetitions=3)
    for override, s in took.items():
        print(f"{override:<40}{SIZE / s:>6.0f} runs/s{took['optimizer=adam'] / s:>8.2f} times Adam with ReLU")


def _took(override: str) -> float:
    runs = runs_of(*BASE, override)
    return seconds(lambda: fit_stack(runs))
