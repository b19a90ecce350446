"""The network, alone and stacked, and how it is trained and scored."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import `MLP`, `StackedLinear` and `MLPClassifier` when they are asked for: they bring in torch and Lightning."""
    if name in ("MLP", "StackedLinear"):
        from pima_hp.model import mlp

        return getattr(mlp, name)
    if name == "MLPClassifier":
        from pima_hp.model.module import MLPClassifier

        return MLPClassifier
    raise AttributeError(name)
