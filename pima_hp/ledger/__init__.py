"""The durable store of finished runs; it imports no torch, so reading results is instant.

`read_study("article")` is all that reading needs. The event files for TensorBoard are written by
`pima_hp.ledger.tensorboard`, which is imported separately because few callers need it.
"""

from pima_hp.ledger.ledger import Ledger as Ledger
from pima_hp.ledger.ledger import curve_columns as curve_columns
from pima_hp.ledger.ledger import distinct as distinct
from pima_hp.ledger.ledger import mean as mean
from pima_hp.ledger.ledger import quantiles as quantiles
from pima_hp.ledger.ledger import read_study as read_study
from pima_hp.ledger.ledger import replicates_of as replicates_of
from pima_hp.ledger.ledger import setting_columns as setting_columns
from pima_hp.ledger.ledger import study_folder as study_folder
from pima_hp.ledger.parts import lacks_diagnostics as lacks_diagnostics
from pima_hp.ledger.plan import Manifest as Manifest
from pima_hp.ledger.plan import follows as follows
from pima_hp.ledger.plan import varying as varying
