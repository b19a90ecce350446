"""The network, alone and stacked, and how it is trained and scored."""

from typing import Any

from pima_hp.model.mlp import MLP, StackedLinear

__all__ = ["MLP", "MLPClassifier", "StackedLinear"]


def __getattr__(name: str) -> Any:
    """Import `MLPClassifier` when it is asked for: it brings in Lightning, which takes a second."""
    if name != "MLPClassifier":
        raise AttributeError(name)
    from pima_hp.model.module import MLPClassifier

    return MLPClassifier
