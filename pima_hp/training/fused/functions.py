"""Elementary functions of lanes, to the last bit or two of their width.

Polynomials after range reduction, the coefficients plain Taylor series where they converge fast enough;
the error function by the rational approximations of S. Moshier's Cephes library (ndtr.c).
"""

import math

from numba import njit

from pima_hp.training.fused.vector import absolute, fma, is_single, power_of_two, rint, splat, where_gt

LOG2_E = 1.4426950408889634
# fmt: off
_EXP_32, _EXP_64 = (tuple(1 / math.factorial(k) for k in range(highest, 1, -1)) for highest in (8, 13))
_LOG_32, _LOG_64 = (tuple(1 / k for k in range(highest, 1, -2)) for highest in (17, 35))
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
def _polynomial(x, coefficients):
    """Return a polynomial in x; its coefficients, highest power first."""
    p = splat(x, coefficients[0])
    for k in range(1, len(coefficients)):
        p = fma(p, x, coefficients[k])
    return p


@njit
def _scaled(x):
    """Return powers of two s and rests e with exp(x) = s * (1 + e); x is clipped to where that is finite, NaN stays.

    ln 2 is the sum of a short number, so that n * short is exact, and the rest.
    """
    if is_single(x):
        short, rest, largest = 0.693359375, -2.12194440054690583e-4, 87.5
    else:
        short, rest, largest = 6.93147180369123816490e-01, 1.90821492927058770002e-10, 708.0
    clipped = where_gt(x, largest, largest, x)
    clipped = where_gt(-largest, clipped, -largest, clipped)
    n = rint(clipped * LOG2_E)
    r = fma(n, -rest, fma(n, -short, clipped))
    p = _polynomial(r, _EXP_32) if is_single(x) else _polynomial(r, _EXP_64)
    return power_of_two(n), fma(p * r, r, r)


@njit
def expm1(x):
    """Return exp(x) - 1, accurate near 0."""
    scale, rest = _scaled(x)
    return fma(scale, rest, scale - 1.0)


@njit
def exp(x):
    """Return the exponential."""
    scale, rest = _scaled(x)
    return fma(scale, rest, scale)


@njit
def log1p_unit(u):
    """Return log(1 + u) for 0 <= u <= 1: twice the area hyperbolic tangent of u / (2 + u)."""
    s = u / (2.0 + u)
    square = s * s
    p = _polynomial(square, _LOG_32) if is_single(u) else _polynomial(square, _LOG_64)
    return 2.0 * fma(p * square, s, s)


@njit
def sigmoid(x):
    """Return 1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + exp(0.0 - x))


@njit
def tanh(x):
    """Return the hyperbolic tangent, accurate near 0."""
    e = expm1(2.0 * absolute(x))
    t = e / (e + 2.0)
    return where_gt(0.0, x, 0.0 - t, t)


@njit
def erf(x):
    """Return the error function: a rational function below 1, 1 - exp(-x^2) times another above (Cephes)."""
    a, square = absolute(x), x * x
    near = x * (_polynomial(square, _T) / _polynomial(square, _U))
    b = where_gt(a, 6.0, 6.0, a)
    tail = 1.0 - exp(0.0 - b * b) * (_polynomial(b, _P) / _polynomial(b, _Q))
    return where_gt(a, 1.0, where_gt(0.0, x, 0.0 - tail, tail), near)


@njit
def logistic(z, y):
    """Return probability, correctness (probability above 0.5) and cross entropy in nats of logits z and labels y."""
    small = exp(0.0 - absolute(z))
    probability = where_gt(0.0, z, small, 1.0) / (1.0 + small)
    correct = 1.0 - absolute(where_gt(probability, 0.5, 1.0, 0.0) - y)
    loss = where_gt(z, 0.0, z, 0.0) - z * y + log1p_unit(small)  # NaN where z is
    return probability, correct, loss
