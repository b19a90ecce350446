"""Hidden activations of lanes: the value and the derivative of each row of `tables.ACTIVATIONS`.

`z` is the pre-activation, `h` the value, `a` the one argument an activation may have, a number a member.
"""

from numba import njit

from pima_hp.training.fused.functions import erf, exp, expm1, log1p_unit, sigmoid, tanh
from pima_hp.training.fused.simd import load, magnitude, splat, store, where_greater
from pima_hp.training.fused.tables import ELU, GELU, LEAKY_RELU, RELU, SIGMOID, SILU, SOFTPLUS, TANH


@njit
def _zero_below(z, a):  # noqa: ARG001 -- the values all take (z, a), the slopes (z, h, a)
    zero = splat(z, 0.0)
    return where_greater(zero, z, zero, z)  # this way round NaN stays NaN


@njit
def _step(z, h, a):  # noqa: ARG001
    return where_greater(z, splat(z, 0.0), splat(z, 1.0), splat(z, 0.0))


@njit
def _leaky(z, a):
    return where_greater(z, splat(z, 0.0), z, a * z)


@njit
def _leaky_slope(z, h, a):  # noqa: ARG001
    return where_greater(z, splat(z, 0.0), splat(z, 1.0), a)


@njit
def _same(z, a):  # noqa: ARG001
    return z


@njit
def _sigmoid(z, a):  # noqa: ARG001
    return sigmoid(z)


@njit
def _sigmoid_slope(z, h, a):  # noqa: ARG001
    return h * (splat(z, 1.0) - h)


@njit
def _tanh(z, a):  # noqa: ARG001
    return tanh(z)


@njit
def _tanh_slope(z, h, a):  # noqa: ARG001
    return splat(z, 1.0) - h * h


@njit
def _elu(z, a):
    return where_greater(z, splat(z, 0.0), z, a * expm1(z))


@njit
def _elu_slope(z, h, a):  # noqa: ARG001 -- h + a is the same, but has no correct digit left where exp(z) is small
    return where_greater(z, splat(z, 0.0), splat(z, 1.0), a * exp(z))


@njit
def _normal_cdf(z):
    return splat(z, 0.5) + splat(z, 0.5) * erf(z * splat(z, 0.7071067811865476))


@njit
def _gelu(z, a):  # noqa: ARG001
    return z * _normal_cdf(z)


@njit
def _gelu_slope(z, h, a):  # noqa: ARG001
    return _normal_cdf(z) + z * splat(z, 0.3989422804014327) * exp(splat(z, -0.5) * z * z)


@njit
def _silu(z, a):  # noqa: ARG001
    return z / (splat(z, 1.0) + exp(splat(z, 0.0) - z))


@njit
def _silu_slope(z, h, a):  # noqa: ARG001
    s, one = sigmoid(z), splat(z, 1.0)
    return s * (one + z * (one - s))


@njit
def _softplus(z, a):
    t, zero = a * z, splat(z, 0.0)
    soft = (where_greater(t, zero, t, zero) + log1p_unit(exp(zero - magnitude(t)))) / a
    return where_greater(t, splat(z, 20.0), z, soft)  # torch's own threshold: a line from there on


@njit
def _softplus_slope(z, h, a):  # noqa: ARG001
    t = a * z
    return where_greater(t, splat(z, 20.0), splat(z, 1.0), sigmoid(t))


@njit
def _map(value, pre, post, start, count, a):
    for q in range(start, start + count):
        store(post, q, value(load(pre, q), a))


@njit
def _scale(slope, delta, pre, post, start, count, a):
    for q in range(start, start + count):
        store(delta, q, load(delta, q) * slope(load(pre, q), load(post, q), a))


@njit
def activate(code, pre, post, start, count, a):
    """Write the activation of rows start .. start + count of `pre` into `post`."""
    if code == RELU:
        _map(_zero_below, pre, post, start, count, a)
    elif code == LEAKY_RELU:
        _map(_leaky, pre, post, start, count, a)
    elif code == SIGMOID:
        _map(_sigmoid, pre, post, start, count, a)
    elif code == TANH:
        _map(_tanh, pre, post, start, count, a)
    elif code == ELU:
        _map(_elu, pre, post, start, count, a)
    elif code == GELU:
        _map(_gelu, pre, post, start, count, a)
    elif code == SILU:
        _map(_silu, pre, post, start, count, a)
    elif code == SOFTPLUS:
        _map(_softplus, pre, post, start, count, a)
    else:
        _map(_same, pre, post, start, count, a)


@njit
def times_slope(code, delta, pre, post, start, count, a):
    """Multiply rows of `delta` by the activation's derivative at `pre`, where its value is `post`."""
    if code == RELU:
        _scale(_step, delta, pre, post, start, count, a)
    elif code == LEAKY_RELU:
        _scale(_leaky_slope, delta, pre, post, start, count, a)
    elif code == SIGMOID:
        _scale(_sigmoid_slope, delta, pre, post, start, count, a)
    elif code == TANH:
        _scale(_tanh_slope, delta, pre, post, start, count, a)
    elif code == ELU:
        _scale(_elu_slope, delta, pre, post, start, count, a)
    elif code == GELU:
        _scale(_gelu_slope, delta, pre, post, start, count, a)
    elif code == SILU:
        _scale(_silu_slope, delta, pre, post, start, count, a)
    elif code == SOFTPLUS:
        _scale(_softplus_slope, delta, pre, post, start, count, a)
