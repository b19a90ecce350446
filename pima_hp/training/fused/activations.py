"""Hidden activations of lanes: one row for each class of `torch.nn`, its value and its derivative.

`z` is the pre-activation, `h` the value, `a` the one argument an activation may have, a number a member.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from numba import njit

from pima_hp.configuration import ActivationSection
from pima_hp.training.fused.functions import erf, exp, expm1, log1p_unit, sigmoid, tanh
from pima_hp.training.fused.simd import load, magnitude, splat, store, where_greater

RELU, LEAKY_RELU, IDENTITY, SIGMOID, TANH, ELU, GELU, SILU, SOFTPLUS = range(9)


@dataclass(frozen=True)
class Row:
    """How the kernel knows an activation.

    Attributes:
        code: chooses the branch in `activate` and `slope`.
        argument: name of the number that may differ between members, or empty.
        fixed: other arguments, with the only value that the branch knows.
    """

    code: int
    argument: str = ""
    fixed: Mapping[str, object] | None = None


ROWS: dict[str, Row] = {
    "torch.nn.ReLU": Row(RELU),
    "torch.nn.LeakyReLU": Row(LEAKY_RELU, "negative_slope"),
    "torch.nn.Identity": Row(IDENTITY),
    "torch.nn.Sigmoid": Row(SIGMOID),
    "torch.nn.Tanh": Row(TANH),
    "torch.nn.ELU": Row(ELU, "alpha"),
    "torch.nn.GELU": Row(GELU, fixed={"approximate": "none"}),
    "torch.nn.SiLU": Row(SILU),
    "torch.nn.Softplus": Row(SOFTPLUS, "beta"),
}


def row_of(section: ActivationSection) -> Row | None:
    """Return the row that equals an activation, with all its arguments; None when there is none."""
    row = ROWS.get(str(section.target))
    if row is None:
        return None
    fixed = row.fixed or {}
    known = all(name == row.argument or fixed.get(name) == value for name, value in section.arguments.items())
    return row if known and (not row.argument or row.argument in section.arguments) else None


@njit(inline="always")
def _normal_cdf(z):
    half = splat(z, 0.5)
    return half + half * erf(z * splat(z, 0.7071067811865476))


@njit
def activate(code, pre, post, start, count, a):
    """Write the activation of rows start .. start + count of `pre` into `post`."""
    zero, one = splat(pre, 0.0), splat(pre, 1.0)
    for q in range(start, start + count):
        z = load(pre, q)
        h = z
        if code == RELU:
            h = where_greater(zero, z, zero, z)  # this way round NaN stays NaN
        elif code == LEAKY_RELU:
            h = where_greater(z, zero, z, a * z)
        elif code == SIGMOID:
            h = sigmoid(z)
        elif code == TANH:
            h = tanh(z)
        elif code == ELU:
            h = where_greater(z, zero, z, a * expm1(z))
        elif code == GELU:
            h = z * _normal_cdf(z)
        elif code == SILU:
            h = z / (one + exp(zero - z))
        elif code == SOFTPLUS:
            t = a * z
            h = (where_greater(t, zero, t, zero) + log1p_unit(exp(zero - magnitude(t)))) / a
        store(post, q, h)


@njit
def times_slope(code, delta, pre, post, start, count, a):
    """Multiply rows of `delta` by the activation's derivative at `pre`, where its value is `post`."""
    zero, one = splat(pre, 0.0), splat(pre, 1.0)
    for q in range(start, start + count):
        z, h = load(pre, q), load(post, q)
        d = one
        if code == RELU:
            d = where_greater(z, zero, one, zero)
        elif code == LEAKY_RELU:
            d = where_greater(z, zero, one, a)
        elif code == SIGMOID:
            d = h * (one - h)
        elif code == TANH:
            d = one - h * h
        elif code == ELU:
            d = where_greater(z, zero, one, h + a)
        elif code == GELU:
            d = _normal_cdf(z) + z * splat(z, 0.3989422804014327) * exp(splat(z, -0.5) * z * z)
        elif code == SILU:
            s = sigmoid(z)
            d = s * (one + z * (one - s))
        elif code == SOFTPLUS:
            d = sigmoid(a * z)
        store(delta, q, load(delta, q) * d)
