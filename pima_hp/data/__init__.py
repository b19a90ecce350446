"""The table, its splits and the batches: everything a run reads."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import `PimaDataModule` when it is asked for: it brings in Lightning."""
    if name == "PimaDataModule":
        from pima_hp.data.datamodule import PimaDataModule

        return PimaDataModule
    raise AttributeError(name)
