"""What a sweep costs beside its training: composing, checking, publishing, by the job."""

import sys
import tempfile
from unittest import mock

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from pima_hp.commands import CONFIG_PATH, study
from pima_hp.commands.compose import ComposedJobs
from pima_hp.commands.exits import exit_code
from pima_hp.commands.main import main
from scripts.benchmarks.timing import seconds

JOBS, MANY = 100, 1000


def sweep() -> None:
    """Time sweeps of 100 and of 1,000 jobs, one run of one epoch each, and the parts of them."""
    with initialize_config_dir(CONFIG_PATH, version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
        overrides = [[f"batch.size={size}"] for size in range(1, JOBS + 1)]
        full = seconds(lambda: [loader.load_sweep_config(master, job) for job in overrides[:20]]) / 20
        shared = seconds(lambda: ComposedJobs(loader, master).get_all(overrides)) / JOBS
    print(f"composing a job: {full * 1e3:.0f} ms by Hydra, {shared * 1e3:.1f} ms where jobs share their options")
    _beside_training(JOBS // 5)  # imports
    few, many = _beside_training(JOBS // 5), _beside_training(JOBS)
    rest = (many - few) / (JOBS - JOBS // 5)
    print(f"a further job besides its training: {rest * 1e3:.1f} ms with its folder (up to 200 jobs)")
    whole = _beside_training(MANY) / MANY
    print(f"{MANY:,} jobs, without folders: {whole * 1e3:.1f} ms a job besides its training, all in")


def _beside_training(n_jobs: int) -> float:
    """Return the seconds of a sweep of one run of one epoch a job, less those spent in training."""
    training, train_jobs = [], study.train_jobs

    def timed(*arguments: object, **options: object) -> None:
        training.append(seconds(lambda: train_jobs(*arguments, **options)))  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(study, "train_jobs", timed):
        rates = ",".join(f"{number}e-6" for number in range(1, n_jobs + 1))
        sys.argv = ["pima-hp-train", "-m", f"optimizer.lr={rates}", "trainer.max_epochs=1", "logger=none"]
        sys.argv += ["study=s", f"outputs={folder}"]
        return seconds(lambda: exit_code(main.__wrapped__)) - sum(training)  # type: ignore[attr-defined]
