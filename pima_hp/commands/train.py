"""The task of a job: make sure that the ledger of its study holds its runs."""

import hashlib
import re

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf


def train(cfg: DictConfig) -> float | None:
    """Train the runs of this job that its study lacks; return the mean of their last `val/accuracy`.

    Idempotent: runs that the ledger on disk already holds are not trained again.

    Args:
        cfg: as Hydra composes it from `conf/`.
    """
    from pima_hp.commands import study
    from pima_hp.commands.compose import swept_keys
    from pima_hp.commands.job import parse

    job, hydra = parse(cfg), HydraConfig.get() if HydraConfig.initialized() else None
    if not job.is_recorded:
        from pima_hp.commands.solo import train_unrecorded

        return train_unrecorded(job)
    swept = swept_keys([tuple(hydra.overrides.task)]) if hydra else []
    if job.settings.dry_run:
        from pima_hp.commands.summary import print_plan

        print_plan([job], study.plan([job], swept), together=len(job.runs) > 1)
        return None
    if study.missing(job.folder, job.runs, job.settings.command):
        together = len(job.runs) > 1 or (hydra is not None and hydra.mode == RunMode.MULTIRUN)
        with study.held(job.folder, job.settings.command or "") as holder:
            study.train_jobs([job], study.planned([job], swept), together=together, holder=holder)
    if job.settings.test:
        from pima_hp.commands.solo import score_test_rows

        score_test_rows(job, None)
    return study.mean_score(job.folder, job.runs)


def job_folder(overrides: str) -> str:
    """Return a folder name for the overrides of a job: readable, free of separators, at most 100 characters."""
    safe = re.sub(r"[^A-Za-z0-9._=,+-]", "_", overrides)
    if safe == overrides and len(safe) <= 100 and not safe.startswith("."):
        return safe or "baseline"
    return f"{safe[:83].lstrip('.')}_{hashlib.sha256(overrides.encode()).hexdigest()[:16]}"


OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
