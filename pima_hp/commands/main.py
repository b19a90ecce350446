"""The console command `pima-hp-train`, and the task of a job: make sure that the ledger of its study holds its runs."""

import hashlib
import re
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pima_hp.commands.exits import command
from pima_hp.config.options import CONF


def train(cfg: DictConfig) -> float | None:
    """Train the runs of this job that its study lacks; return the mean of their last `val/accuracy`.

    Idempotent: runs that the ledger on disk already holds are not trained again.

    Args:
        cfg: as Hydra composes it from `conf/`.
    """
    from pima_hp.commands import study
    from pima_hp.commands.compose import swept_keys
    from pima_hp.commands.job import parse

    composed: Any = HydraConfig.instance().cfg
    job = parse(cfg, in_sweep=bool(composed) and composed.hydra.mode == RunMode.MULTIRUN)
    if not job.is_recorded:
        from pima_hp.commands.solo import train_unrecorded

        return train_unrecorded(job)
    swept = swept_keys([tuple(composed.hydra.overrides.task)]) if composed else []
    study.train_jobs([job], swept)
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


@command
@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Train the runs of this job that its study lacks."""
    return train(cfg)
