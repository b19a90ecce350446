"""What a sweep costs beside its training: composing, checking, publishing, by the job."""

import tempfile
from unittest import mock

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from pima_hp.composition import register_resolvers
from pima_hp.jobs import ComposedJobs

from pima_hp import app
from pima_hp.commands.study import Study
from pima_hp.config.options import CONF
from scripts.benchmarks.timing import seconds

JOBS = 100


def sweep() -> None:
    """Time a sweep of 100 jobs, one run of one epoch each, and the parts of it."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
        overrides = [[f"batch.size={size}"] for size in range(1, JOBS + 1)]
        full = seconds(lambda: [loader.load_sweep_config(master, job) for job in overrides[:20]]) / 20
        shared = seconds(lambda: ComposedJobs(loader, master).get_all(overrides)) / JOBS
    few, many = _beside_training(JOBS // 5), _beside_training(JOBS)
    rest = (many - few) / (JOBS - JOBS // 5)  # what starts a command, mostly imports, is in both
    print(f"composing a job: {full * 1e3:.0f} ms by Hydra, {shared * 1e3:.1f} ms where jobs share their options")
    print(f"a further job besides its training: {rest * 1e3:.1f} ms, {(rest - shared) * 1e3:.1f} ms beyond composing")


def _beside_training(n_jobs: int) -> float:
    """Return the seconds of a sweep of one run of one epoch a job, less those spent in training."""
    training, train = [], Study.train

    def timed(study: Study, *arguments: object, **options: object) -> None:
        training.append(seconds(lambda: train(study, *arguments, **options)))  # type: ignore[arg-type]

    arguments = [
        "-m",
        f"batch.size=range(1,{n_jobs + 1})",
        "trainer.max_epochs=1",
        "logger=none",
        "trainer=cpu",
        "study=s",
    ]
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(Study, "train", timed):
        return seconds(lambda: app.run([*arguments, f"outputs={folder}"])) - sum(training)
