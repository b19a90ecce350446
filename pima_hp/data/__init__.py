"""The table, its splits and the batches: everything a run reads."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import the datamodule, and Lightning with it, only when it is asked for: reading a table needs neither."""
    if name == "PimaDataModule":
        from pima_hp.data.datamodule import PimaDataModule

        return PimaDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
