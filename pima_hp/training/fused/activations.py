"""Hidden activations of lanes: a function for each row of `tables.ACTIVATIONS`.

Each returns the value and the derivative at the pre-activation `z`. `h` is the value where it is already known, `a` the
one argument that an activation may have, a number a member. The compiler leaves out what a caller does not use.
"""

from numba import njit

from pima_hp.training.fused.functions import erf, exp, expm1, log1p_unit, sigmoid, tanh
from pima_hp.training.fused.tables import ELU, GELU, LEAKY_RELU, RELU, SIGMOID, SILU, SOFTPLUS, TANH
from pima_hp.training.fused.vector import absolute, load, store, where_gt


@njit
def _relu(z, h, a):  # noqa: ARG001 -- all take (z, h, a)
    return where_gt(0.0, z, 0.0, z), where_gt(z, 0.0, 1.0, 0.0)  # this way round NaN stays NaN


@njit
def _leaky_relu(z, h, a):  # noqa: ARG001
    return where_gt(z, 0.0, z, a * z), where_gt(z, 0.0, 1.0, a)


@njit
def _identity(z, h, a):  # noqa: ARG001
    return z, 1.0


@njit
def _sigmoid(z, h, a):  # noqa: ARG001
    return sigmoid(z), h * (1.0 - h)


@njit
def _tanh(z, h, a):  # noqa: ARG001
    return tanh(z), 1.0 - h * h


@njit
def _elu(z, h, a):  # noqa: ARG001 -- h + a is the slope, too, but has no correct digit left where exp(z) is small
    return where_gt(z, 0.0, z, a * expm1(z)), where_gt(z, 0.0, 1.0, a * exp(z))


@njit
def _gelu(z, h, a):  # noqa: ARG001
    normal_cdf = 0.5 + 0.5 * erf(z * 0.7071067811865476)
    return z * normal_cdf, normal_cdf + z * 0.3989422804014327 * exp(-0.5 * z * z)


@njit
def _silu(z, h, a):  # noqa: ARG001
    s = sigmoid(z)
    return z / (1.0 + exp(0.0 - z)), s * (1.0 + z * (1.0 - s))


@njit
def _softplus(z, h, a):  # noqa: ARG001
    t = a * z
    soft = (where_gt(t, 0.0, t, 0.0) + log1p_unit(exp(0.0 - absolute(t)))) / a
    return where_gt(t, 20.0, z, soft), where_gt(t, 20.0, 1.0, sigmoid(t))  # torch's threshold: a line beyond


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
