"""The task of a job: make sure that the ledger of its study holds its runs."""

import hashlib
import re

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pima_hp.commands.compose import swept_keys
from pima_hp.commands.job import parse
from pima_hp.commands.study import held, mean_score, missing, plan, train_jobs
from pima_hp.ledger import Manifest
from pima_hp.ledger.files import locked


def train(cfg: DictConfig) -> float | None:
    """Train the runs of this job that its study lacks; return the mean of their last `val/accuracy`.

    Idempotent: the ledger on disk says what is there already, whoever has trained it.

    Args:
        cfg: as Hydra composes it from `conf/`.
    """
    job = parse(cfg)
    if not job.is_recorded:
        from pima_hp.commands.unrecorded import run_unrecorded

        return run_unrecorded(job)
    swept = swept_keys([tuple(HydraConfig.get().overrides.task)]) if HydraConfig.initialized() else ()
    if job.settings.dry_run:
        from pima_hp.commands.summary import print_plan

        print_plan([job], plan([job], swept), together=len(job.runs) > 1)
        return None
    command = job.settings.command or ""
    if missing(job.folder, job.runs, command):
        in_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
        with held(job.folder, command) as holder:
            with locked(job.folder):
                manifest = Manifest.read(job.folder)
                if manifest is None or not {run.id for run in job.runs} <= set(manifest.run_ids):
                    plan([job], swept).write(job.folder)
            train_jobs([job], together=len(job.runs) > 1 or in_sweep, holder=holder)
    elif job.settings.test:
        from pima_hp.commands.unrecorded import test_recorded

        test_recorded(job)
    return mean_score(job.folder, job.runs)


def job_folder(overrides: str) -> str:
    """Return a folder name for the overrides of a job: readable, free of separators, at most 100 characters."""
    if not overrides:
        return "baseline"
    safe = re.sub(r"[^A-Za-z0-9._=,+-]", "_", overrides)
    if safe == overrides and len(safe) <= 100 and not safe.startswith("."):
        return safe
    return f"{safe[:83].lstrip('.')}_{hashlib.sha256(overrides.encode()).hexdigest()[:16]}"


OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
