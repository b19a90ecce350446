"""What does a hyperparameter do to a small neural network? Many small trainings, one judged answer."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pima_hp.commands.api import predict, sweep, train
    from pima_hp.ledger import read_study

__all__ = ["predict", "read_study", "sweep", "train"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the public functions when they are first used: `pima_hp.read_study` needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module 'pima_hp' has no attribute {name!r}")
    return getattr(import_module("pima_hp.ledger" if name == "read_study" else "pima_hp.commands.api"), name)
