"""The operations of `vector`, and elementary functions, in Triton: each thread of a warp holds one of LANES numbers.

`vector` and `functions` document each operation. With TRITON_INTERPRET=1 numpy computes all of it on the CPU, very
slowly (Triton documentation, "Debugging Triton").
"""

import triton
import triton.language as tl

LANES = 32  # a warp
# The type of whole numbers that are not arguments: constants for the compiler, plain when interpreted.
constant = int if triton.knobs.runtime.interpret else tl.constexpr

_LANES = constant(LANES)


@triton.jit
def block_of(block):  # noqa: ARG001
    return tl.program_id(0).to(tl.int64)


@triton.jit
def skip(array, count):
    return array + count * _LANES


@triton.jit
def at(array, index):
    return tl.load(array + index)


@triton.jit
def load(array, row):
    return tl.load(array + row * _LANES + tl.arange(0, _LANES))


@triton.jit
def store(array, row, value):
    tl.store(array + row * _LANES + tl.arange(0, _LANES), value)


@triton.jit
def gather(source, first, choice, row, target, into):
    store(target, into, tl.load(source + (first + load(choice, row)) * _LANES + tl.arange(0, _LANES)))


@triton.jit
def splat(model, number):
    if model.dtype.is_ptr():
        return tl.full([_LANES], number, model.dtype.element_ty)
    else:  # noqa: RET505 -- one of the two is compiled
        return tl.full([_LANES], number, model.dtype)


@triton.jit
def cast(model, x):
    return x.to(model.dtype.element_ty)


@triton.jit
def sqrt(x):
    if x.dtype == tl.float32:
        return tl.sqrt_rn(x)  # the other one is approximate in single precision
    else:  # noqa: RET505
        return tl.sqrt(x)


@triton.jit
def fma(x, y, z):
    return tl.fma(x, y, z)


@triton.jit
def absolute(x):
    return tl.abs(x)


@triton.jit
def exp(x):
    return tl.exp(x)


@triton.jit
def erf(x):
    return tl.erf(x)


@triton.jit
def where_gt(x, bound, yes, no):
    return tl.where(x > bound, yes, no)


@triton.jit
def expm1(x):
    """Return exp(x) - 1, accurate near 0: the rounding errors of exp and log there cancel (W. Kahan)."""
    x = tl.where(x > 80.0, 80.0, x)  # beyond, tanh would be infinity by infinity
    e = tl.exp(x)
    near = tl.where(e == 1.0, x, (e - 1.0) * x / tl.log(tl.where(e == 1.0, 2.0, e)))
    return tl.where(tl.abs(x) < 1.0, near, e - 1.0)


@triton.jit
def log1p_unit(u):
    """Return log(1 + u) for 0 <= u <= 1, likewise."""
    v = 1.0 + u
    return tl.where(v == 1.0, u, tl.log(v) * u / tl.where(v == 1.0, 1.0, v - 1.0))
