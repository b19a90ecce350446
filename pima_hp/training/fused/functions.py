"""Elementary functions of lanes, to the last bit or two of their width.

Polynomials after range reduction, the coefficients plain Taylor series where they converge fast enough;
the error function by the rational approximations of S. Moshier's Cephes library (ndtr.c).
"""

from numba import njit, types
from numba.core.extending import overload

from pima_hp.training.fused.simd import (
    fma,
    magnitude,
    nearest_whole,
    power_of_two,
    splat,
    where_greater,
    where_nan,
)

LOG2_E = 1.4426950408889634


def ln2_parts(x):
    """Return ln 2 as a short number and the rest, so that n * short is exact, and the largest argument of exp."""


@overload(ln2_parts)
def _ln2_parts(x):
    parts = (
        (0.693359375, -2.12194440054690583e-4, 87.5)
        if x.dtype == types.float32
        else (
            6.93147180369123816490e-01,
            1.90821492927058770002e-10,
            708.0,
        )
    )
    return lambda x: parts  # noqa: ARG005


def is_single(x):
    """Whether lanes are in single precision; known when compiling."""


@overload(is_single)
def _is_single(x):
    answer = x.dtype == types.float32
    return lambda x: answer  # noqa: ARG005


@njit
def _reduced_expm1(r):
    """exp(r) - 1 for |r| <= ln(2) / 2, by its Taylor series (13 terms in double, 8 in single precision)."""
    p = splat(r, 1 / 40320)
    if not is_single(r):
        p = splat(r, 1 / 6227020800)
        p = fma(p, r, splat(r, 1 / 479001600))
        p = fma(p, r, splat(r, 1 / 39916800))
        p = fma(p, r, splat(r, 1 / 3628800))
        p = fma(p, r, splat(r, 1 / 362880))
        p = fma(p, r, splat(r, 1 / 40320))
    p = fma(p, r, splat(r, 1 / 5040))
    p = fma(p, r, splat(r, 1 / 720))
    p = fma(p, r, splat(r, 1 / 120))
    p = fma(p, r, splat(r, 1 / 24))
    p = fma(p, r, splat(r, 1 / 6))
    p = fma(p, r, splat(r, 0.5))
    return fma(p * r, r, r)


@njit
def _scaled(x):
    """Powers of two s and rests e with exp(x) = s * (1 + e); x is clipped to where that is finite, NaN stays."""
    high, low, largest = ln2_parts(x)
    bound = splat(x, largest)
    clipped = where_greater(x, bound, bound, x)
    clipped = where_greater(splat(x, 0.0) - bound, clipped, splat(x, 0.0) - bound, clipped)
    n = nearest_whole(clipped * splat(x, LOG2_E))
    r = fma(n, splat(x, -high), clipped)
    r = fma(n, splat(x, -low), r)
    return power_of_two(where_nan(n, splat(x, 0.0), n)), _reduced_expm1(r)


@njit
def expm1(x):
    """exp(x) - 1, accurate near 0."""
    scale, rest = _scaled(x)
    return fma(scale, rest, scale - splat(x, 1.0))


@njit
def exp(x):
    """Exponential."""
    scale, rest = _scaled(x)
    return fma(scale, rest, scale)


@njit
def log1p_unit(u):
    """log(1 + u) for 0 <= u <= 1: twice the area hyperbolic tangent of u / (2 + u)."""
    s = u / (splat(u, 2.0) + u)
    square = s * s
    p = splat(u, 1 / 17)
    if not is_single(u):
        p = splat(u, 1 / 35)
        for k in range(33, 15, -2):
            p = fma(p, square, splat(u, 1 / k))
    for k in range(15, 1, -2):
        p = fma(p, square, splat(u, 1 / k))
    return splat(u, 2.0) * fma(p * square, s, s)


@njit
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    one = splat(x, 1.0)
    return one / (one + exp(splat(x, 0.0) - x))


@njit
def tanh(x):
    """Hyperbolic tangent, accurate near 0."""
    e = expm1(splat(x, 2.0) * magnitude(x))
    t = e / (e + splat(x, 2.0))
    return where_greater(splat(x, 0.0), x, splat(x, 0.0) - t, t)


@njit
def _ratio(x, above, below):
    """Quotient of two polynomials in x, highest power first."""
    p, q = splat(x, above[0]), splat(x, below[0])
    for k in range(1, len(above)):
        p = fma(p, x, splat(x, above[k]))
    for k in range(1, len(below)):
        q = fma(q, x, splat(x, below[k]))
    return p / q


# fmt: off
_T = (9.60497373987051638749e0, 9.00260197203842689217e1, 2.23200534594684319226e3, 7.00332514112805075473e3,
      5.55923013010394962768e4)
_U = (1.0, 3.35617141647503099647e1, 5.21357949780152679795e2, 4.59432382970980127987e3, 2.26290000613890934246e4,
      4.92673942608635921086e4)
_P = (2.46196981473530512524e-10, 5.64189564831068821977e-1, 7.46321056442269912687e0, 4.86371970985681366614e1,
      1.96520832956077098242e2, 5.26445194995477358631e2, 9.34528527171957607540e2, 1.02755188689515710272e3,
      5.57535335369399327526e2)
_Q = (1.0, 1.32281951154744992508e1, 8.67072140885989742329e1, 3.54937778887819891062e2, 9.75708501743205489753e2,
      1.82390916687909736289e3, 2.24633760818710981792e3, 1.65666309194161350182e3, 5.57535340817727675546e2)
# fmt: on


@njit
def erf(x):
    """The error function: a rational function below 1, 1 - exp(-x^2) times another above (Cephes)."""
    zero, one = splat(x, 0.0), splat(x, 1.0)
    a = magnitude(x)
    near = x * _ratio(x * x, _T, _U)
    b = where_greater(a, splat(x, 6.0), splat(x, 6.0), a)
    tail = one - exp(zero - b * b) * _ratio(b, _P, _Q)
    far = where_greater(zero, x, zero - tail, tail)
    return where_greater(a, one, far, near)
