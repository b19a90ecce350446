"""The durable store of finished runs; it imports no torch, so reading results is instant.

`read_study("outputs/article")` is all that a reader needs. What is derived from the ledger for TensorBoard
is in `pima_hp.ledger.tensorboard`, imported on its own because few need it.
"""

from pima_hp.ledger.frame import curve_columns, setting_columns
from pima_hp.ledger.ledger import Ledger, read_study
from pima_hp.ledger.lock import StudyLock
from pima_hp.ledger.manifest import Manifest, PlannedConfiguration

__all__ = [
    "Ledger",
    "Manifest",
    "PlannedConfiguration",
    "StudyLock",
    "curve_columns",
    "read_study",
    "setting_columns",
]
