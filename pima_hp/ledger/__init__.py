"""The durable store of finished runs; it imports no torch, so reading results is instant.

`read_study("article")` is all that reading needs. The event files for TensorBoard are written by
`pima_hp.ledger.tensorboard`, which is imported separately because few callers need it.
"""

from pima_hp.ledger.ledger import Ledger as Ledger
from pima_hp.ledger.ledger import read_study as read_study
from pima_hp.ledger.plan import Manifest as Manifest
