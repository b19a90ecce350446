"""Train runs: by Lightning one at a time (solo), or one to thousands as one program (stacked, fused)."""

import os

# Without this, MKL's matrix products depend on the memory alignment of their operands, so a member's result would
# depend on its position in the stack. MKL reads it before the first matrix product of the process.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
