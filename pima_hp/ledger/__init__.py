"""The durable store of finished runs; it imports no torch, so reading results is instant.

`read_study("article")` is all that a reader needs. What is derived from the ledger for TensorBoard
is in `pima_hp.ledger.tensorboard`, imported on its own because few need it.
"""

from pima_hp.ledger.frame import curve_columns, distinct, replicates_of, setting_columns
from pima_hp.ledger.ledger import Ledger, read_study
from pima_hp.ledger.plan import Manifest

__all__ = ["Ledger", "Manifest", "curve_columns", "distinct", "read_study", "replicates_of", "setting_columns"]
