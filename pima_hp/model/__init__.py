"""The network, alone or stacked, the LightningModule that trains it, and how it is scored."""

from typing import Any

from pima_hp.model.mlp import MLP

__all__ = ["MLP", "MLPClassifier"]


def __getattr__(name: str) -> Any:
    """Import the LightningModule, and Lightning with it, only when it is asked for."""
    if name == "MLPClassifier":
        from pima_hp.model.module import MLPClassifier

        return MLPClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
