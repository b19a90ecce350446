#!/usr/bin/env python3
"""Train a network: `python scripts/train.py optimizer=adam batch=b32`; a sweep: `-m batch.size=5,10 seed=0,1`."""

import hydra
from omegaconf import DictConfig

from pima_hp.commands import CONFIG_PATH, command, train


@command
@hydra.main(version_base="1.3", config_path=CONFIG_PATH, config_name="config")
def main(cfg: DictConfig) -> float | None:
    """Train the runs of this job that its study lacks; return the mean of their last `val/accuracy`."""
    return train(cfg)


if __name__ == "__main__":
    main()
