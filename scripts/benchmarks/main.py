"""What each way of training costs, in runs of 100 epochs a second; `scripts/benchmark NAME`."""

import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger

from pima_hp.run import Run
from pima_hp.training import stacked
from pima_hp.training.fused import engine as fused
from pima_hp.training.solo import fit
from scripts.benchmarks.bare import train_bare
from scripts.benchmarks.timing import medians, runs_of, seconds

EPOCHS = 100


def solo() -> None:
    """Solo training against a bare torch loop that records the same figures, batch 5 and 10."""
    for batch, wanted in (("b5", (1.7, 2.5)), ("b10", (2.2, 3.0))):
        (run,) = runs_of(f"batch={batch}", f"trainer.max_epochs={EPOCHS}")
        took = medians(
            {
                "bare torch loop": lambda run=run: seconds(lambda: train_bare(run, EPOCHS)),
                "Lightning, quiet": lambda run=run: seconds(lambda: fit(run)),
                "Lightning, dressed": lambda run=run: seconds(lambda: _dressed(run)),
            },
            repetitions=3,
        )
        bare = took.pop("bare torch loop")
        print(f"{batch}: bare torch loop {bare / EPOCHS * 1e3:.1f} ms an epoch, {bare:.2f} s a run")
        for (name, s), most in zip(took.items(), wanted, strict=True):
            print(f"{batch}: {name:<20} {s / bare:.2f} times that (at most {most} wanted)")


def _dressed(run: Run) -> None:
    """Train one run as a user of Lightning does: TensorBoard, and the callbacks of conf/callbacks/default.yaml."""
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        logger = TensorBoardLogger(folder, default_hp_metric=False)
        fit(
            run,
            callbacks=[ModelCheckpoint(folder, monitor="val/loss"), TQDMProgressBar(refresh_rate=20)],
            loggers=[logger],
        )


def engines() -> None:
    """Runs a second of every engine by the size of the stack, batch 5 and 32, Adam; long ones from fewer epochs."""
    _warm_up()
    sizes = (1, 16, 64, 128, 256, 1024, 4096)
    rows: dict[str, dict[str, float]] = {}
    for batch in ("b5", "b32"):
        common = (f"batch={batch}", "optimizer=adam")
        (run,) = runs_of(*common, "trainer.max_epochs=3")
        contestants: dict[str, Callable[[], float]] = {
            "bare torch loop": lambda run=run: 1 / (seconds(lambda: train_bare(run, 3)) / 3 * EPOCHS),
            "solo (Lightning)": lambda run=run: 1 / (seconds(lambda: fit(run)) / 3 * EPOCHS),
        }
        for size in sizes:
            for engine in ("stacked", "fused"):
                if engine == "stacked" and size < 16:
                    continue
                contestants[f"{engine} M={size}"] = _rate(engine, size, common)
        for name, rate in medians(contestants, repetitions=3).items():
            rows.setdefault(name, {})[batch] = rate
    print(f"runs of {EPOCHS} epochs a second, per-epoch scores included; {_machine()}")
    print(f"{'':<20}{'batch 5':>10}{'batch 32':>10}")
    for name, rates in rows.items():
        print(f"{name:<20}{rates['b5']:>10.3g}{rates['b32']:>10.3g}")
    for size in (64, 1024):
        ratio = rows[f"fused M={size}"]["b5"] / rows["solo (Lightning)"]["b5"]
        torch_ratio = rows[f"stacked M={size}"]["b5"] / rows["solo (Lightning)"]["b5"]
        print(f"batch 5, M={size}: {ratio:,.0f} times solo (fused), {torch_ratio:,.0f} times (stacked)")


def scaling() -> None:
    """Time of the default engine against members, epochs and rows, and the memory of M = 4096."""
    _warm_up()
    print(f"{'members':>8}{'epochs':>8}{'rows':>6}{'seconds':>9}{'us a member, epoch and row':>28}")
    for size, epochs, test in (
        (256, 25, 0.2), (512, 25, 0.2), (1024, 25, 0.2), (2048, 25, 0.2), (4096, 25, 0.2),
        (512, 50, 0.2), (512, 100, 0.2), (512, 25, 0.6),
    ):  # fmt: skip
        runs = runs_of("batch=b5", f"n_replicates={size}", f"trainer.max_epochs={epochs}", f"data.test_fraction={test}")
        began = time.perf_counter()
        n_rows = fused.fit_stack(runs).n_train
        took = time.perf_counter() - began
        print(f"{size:>8}{epochs:>8}{n_rows:>6}{took:>9.2f}{took / size / epochs / n_rows * 1e6:>28.4f}")
    code = "from scripts.benchmarks.main import memory; memory()"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 -- our own code


def memory() -> None:
    """Print the most memory that a process takes to train 4,096 runs."""
    fused.fit_stack(runs_of("batch=b5", "n_replicates=4096", "trainer.max_epochs=5"))
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"memory at M=4096: {used:,.0f} MiB (at most 2,048 wanted)")


def gpu() -> None:
    """Runs a second of both engines on a CUDA device, batch 5, Adam; at least 5,000 wanted of fused at 65,536 runs.

    Training alone, from runs of many and of few epochs; and with what the host does before and after.
    """
    if not torch.cuda.is_available():
        sys.exit("gpu: needs a CUDA device; found none")
    for engine, fit_stack, most in (("fused", fused.fit_stack, EPOCHS), ("stacked", stacked.fit_stack, EPOCHS // 5)):
        for size in (1024, 8192, 65536):
            common = ("trainer=gpu", "batch=b5", "optimizer=adam", f"n_replicates={size}")
            few, many = (runs_of(*common, f"trainer.max_epochs={n}") for n in (most // 10, most))
            fit_stack(few)  # compiles
            short, long = (seconds(lambda: fit_stack(runs)) for runs in (few, many))  # noqa: B023 -- called here
            training = (long - short) / (most - most // 10) * EPOCHS
            whole = short + training * (1 - most // 10 / EPOCHS)
            rates = f"{size / training:,.0f} runs/s trained, {size / whole:,.0f} runs/s with the host's part"
            print(f"{engine} M={size:>6}: {rates}; {torch.cuda.get_device_name()}")


def _rate(engine: str, size: int, overrides: tuple[str, ...]) -> Callable[[], float]:
    n_epochs = (EPOCHS if size <= 1024 else 25) if engine == "fused" else 2
    runs = runs_of(*overrides, f"n_replicates={size}", f"trainer.max_epochs={n_epochs}")
    fit_stack = {"fused": fused.fit_stack, "stacked": stacked.fit_stack}[engine]
    n_times = max(1, 32 // size) if engine == "fused" else 1  # a run alone is over in 20 ms, too short to be timed

    def measure() -> float:
        return n_times * size / (seconds(lambda: [fit_stack(runs) for _ in range(n_times)]) / n_epochs * EPOCHS)

    return measure


def _warm_up() -> None:
    fused.fit_stack(runs_of("n_replicates=2", "trainer.max_epochs=1"))


def _machine() -> str:
    return f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}"


def main() -> None:
    """Run the benchmark that is named."""
    from scripts.benchmarks.host import host
    from scripts.benchmarks.options import options
    from scripts.benchmarks.peers import peers
    from scripts.benchmarks.phases import factorial
    from scripts.benchmarks.sweep import sweep

    choices = {one.__name__: one for one in (solo, engines, host, options, scaling, sweep, factorial, gpu, peers)}
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in choices:
        sys.exit(f"scripts/benchmark: must name one of {', '.join(sorted(choices))}; found {name!r}")
    choices[name]()


if __name__ == "__main__":
    main()
