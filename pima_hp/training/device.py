"""Where training happens."""

import torch

from pima_hp.config import Config


def device_of(configuration: Config) -> torch.device:
    """Return the device that `trainer.accelerator` means on this machine."""
    wanted = configuration.trainer.accelerator
    return torch.device("cuda" if wanted == "gpu" or (wanted == "auto" and torch.cuda.is_available()) else "cpu")


def engine_on(engine: str, configuration: Config) -> str:
    """Return what a record says of who trained its run: the engine, and the device unless that is the CPU."""
    device = device_of(configuration).type
    return engine if device == "cpu" else f"{engine} on {device}"
