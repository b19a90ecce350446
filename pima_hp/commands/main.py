"""The console command `pima-hp-train`; `scripts/train.py` is the same."""

import hydra
from omegaconf import DictConfig

from pima_hp.commands import CONFIG_PATH, command, train


@command
@hydra.main(version_base="1.3", config_path=CONFIG_PATH, config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Train the runs of this job that its study lacks; return the mean of their last `val/accuracy`."""
    return train(cfg)
