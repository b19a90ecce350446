"""Hidden activations of lanes: a function for each row of `tables.ACTIVATIONS`.

Each returns the value and the derivative at the pre-activation `z`. `h` is the value where it is already known, `a` the
one argument that an activation may have, a number a member. The compiler leaves out what a caller does not use.
"""

from numba import njit

from pima_hp.training.fused.functions import erf, exp, expm1, log1p_unit, sigmoid, tanh
from pima_hp.training.fused.tables import ELU, GELU, LEAKY_RELU, RELU, SIGMOID, SILU, SOFTPLUS, TANH
from pima_hp.training.fused.vector import absolute, load, splat, store, where_gt


@njit
def _relu(z, h, a):  # noqa: ARG001 -- all take (z, h, a)
    zero, one = splat(z, 0.0), splat(z, 1.0)
    return where_gt(zero, z, zero, z), where_gt(z, zero, one, zero)  # this way round NaN stays NaN


@njit
def _leaky_relu(z, h, a):  # noqa: ARG001
    zero, one = splat(z, 0.0), splat(z, 1.0)
    return where_gt(z, zero, z, a * z), where_gt(z, zero, one, a)


@njit
def _identity(z, h, a):  # noqa: ARG001
    return z, splat(z, 1.0)


@njit
def _sigmoid(z, h, a):  # noqa: ARG001
    return sigmoid(z), h * (splat(z, 1.0) - h)


@njit
def _tanh(z, h, a):  # noqa: ARG001
    return tanh(z), splat(z, 1.0) - h * h


@njit
def _elu(z, h, a):  # noqa: ARG001 -- h + a is the slope, too, but has no correct digit left where exp(z) is small
    zero, one = splat(z, 0.0), splat(z, 1.0)
    return where_gt(z, zero, z, a * expm1(z)), where_gt(z, zero, one, a * exp(z))


@njit
def _gelu(z, h, a):  # noqa: ARG001
    half = splat(z, 0.5)
    normal_cdf = half + half * erf(z * splat(z, 0.7071067811865476))
    return z * normal_cdf, normal_cdf + z * splat(z, 0.3989422804014327) * exp(splat(z, -0.5) * z * z)


@njit
def _silu(z, h, a):  # noqa: ARG001
    s, one = sigmoid(z), splat(z, 1.0)
    return z / (one + exp(splat(z, 0.0) - z)), s * (one + z * (one - s))


@njit
def _softplus(z, h, a):  # noqa: ARG001
    t, zero, one, threshold = a * z, splat(z, 0.0), splat(z, 1.0), splat(z, 20.0)
    soft = (where_gt(t, zero, t, zero) + log1p_unit(exp(zero - absolute(t)))) / a
    return where_gt(t, threshold, z, soft), where_gt(t, threshold, one, sigmoid(t))  # torch's threshold: a line beyond


@njit
def _each(function, backward, delta, pre, post, start, count, a):
    if backward:
        for q in range(start, start + count):
            store(delta, q, load(delta, q) * function(load(pre, q), load(post, q), a)[1])
    else:
        for q in range(start, start + count):
            z = load(pre, q)
            store(post, q, function(z, z, a)[0])


@njit
def activate(code, backward, delta, pre, post, start, count, a):
    """Write the activation of rows start .. start + count of `pre` into `post`.

    With `backward`, multiply these rows of `delta` by the derivative instead.
    """
    if code == RELU:
        _each(_relu, backward, delta, pre, post, start, count, a)
    elif code == LEAKY_RELU:
        _each(_leaky_relu, backward, delta, pre, post, start, count, a)
    elif code == SIGMOID:
        _each(_sigmoid, backward, delta, pre, post, start, count, a)
    elif code == TANH:
        _each(_tanh, backward, delta, pre, post, start, count, a)
    elif code == ELU:
        _each(_elu, backward, delta, pre, post, start, count, a)
    elif code == GELU:
        _each(_gelu, backward, delta, pre, post, start, count, a)
    elif code == SILU:
        _each(_silu, backward, delta, pre, post, start, count, a)
    elif code == SOFTPLUS:
        _each(_softplus, backward, delta, pre, post, start, count, a)
    else:
        _each(_identity, backward, delta, pre, post, start, count, a)
