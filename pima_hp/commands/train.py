"""The task of a job: make sure that the ledger of its study holds its runs."""

import hashlib
import re

from omegaconf import DictConfig, OmegaConf

from pima_hp.commands.job import parse
from pima_hp.commands.study import held, mean_score, plan, train_jobs


def train(cfg: DictConfig) -> float | None:
    """Train the runs of one job that its study lacks, and return their mean final `val/accuracy`.

    Idempotent: the ledger on disk says what is there already, whoever has trained it.

    Args:
        cfg: as Hydra composes it from `conf/`.
    """
    job = parse(cfg)
    if not job.is_recorded:
        from pima_hp.commands.unrecorded import run_unrecorded

        return run_unrecorded(job)
    with held(job.folder, job.settings.command or "") as holder:
        plan([job], []).write(job.folder)
        train_jobs([job], together=len(job.runs) > 1, holder=holder)
    return mean_score(job.folder, job.runs, "val/accuracy")


def job_folder(overrides: str) -> str:
    """Return a folder name for the overrides of a job: readable, free of separators, at most 100 characters."""
    if not overrides:
        return "baseline"
    safe = re.sub(r"[^A-Za-z0-9._=,+-]", "_", overrides)
    if safe == overrides and len(safe) <= 100 and not safe.startswith("."):
        return safe
    return f"{safe[:83].lstrip('.')}_{hashlib.sha256(overrides.encode()).hexdigest()[:16]}"


OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
