"""What does a hyperparameter do to a small neural network? Many small trainings, one judged answer."""

import os

__version__ = "0.1.0"

# Intel's matrix products else depend on where in memory a matrix begins, and a member of a stack on its place in it.
# MKL reads this before its first product; in `scripts/benchmark engines` it costs nothing that can be measured.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
