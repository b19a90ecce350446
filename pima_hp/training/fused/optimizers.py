"""Update rules of lanes: one for each row of `tables.OPTIMIZERS`, with the formulas of `torch.optim`.

A rule changes the weights w (P rows) from the gradients g and its own `state` (state s of parameter q is row
s * P + q). Hyperparameters h come in double precision, a row each in the order of `tables.OPTIMIZERS`; what a step
derives from them is computed in double precision and rounded once, as torch does with Python floats. `running` keeps up
to four numbers a member from step to step, ones at first.
"""

from numba import njit

from pima_hp.training.fused.tables import ADAGRAD, ADAMAX, ADAMW, NADAM, RMSPROP, SGD
from pima_hp.training.fused.vector import absolute, cast, fma, load, sqrt, store, where_gt


@njit
def update(code, flag, step, w, g, state, n, h, running):
    """Make step number `step` (from 1) of one block with n parameters; `flag` is `nesterov` or `centered`."""
    if code == SGD:
        _sgd(flag, step, w, g, state, n, h)
    elif code == RMSPROP:
        _rmsprop(flag, w, g, state, n, h)
    elif code == ADAGRAD:
        _adagrad(step, w, g, state, n, h)
    elif code == NADAM:
        _nadam(w, g, state, n, h, running)
    else:
        _adam(code, w, g, state, n, h, running)


@njit
def _given(w, h, place):
    """Return a hyperparameter."""
    return cast(w, load(h, place))


@njit
def _rest(w, h, place):
    """Return 1 minus a hyperparameter."""
    return cast(w, 1.0 - load(h, place))


@njit
def _next_power(running, place, factor):
    """Return a running number times `factor`, its value from now on."""
    power = load(running, place) * factor
    store(running, place, power)
    return power


@njit
def _next_mean(state, q, gradient, rest):
    """Return the mean in row q, moved by the share `rest` to the gradient, from the nearer of both, as torch's lerp."""
    mean = load(state, q)
    distance = gradient - mean
    mean = where_gt(0.5, rest, fma(rest, distance, mean), fma(rest - 1.0, distance, gradient))
    store(state, q, mean)
    return mean


@njit
def _next_square(state, q, gradient, kept, rest):
    """Return the mean of squares in row q, of which `kept` stays."""
    square = fma(rest, gradient * gradient, kept * load(state, q))
    store(state, q, square)
    return square


@njit
def _next_largest(state, q, size, kept):
    """Return the larger of a size and what `kept` leaves of the largest one before, in row q."""
    faded = kept * load(state, q)
    largest = where_gt(faded, size, faded, size)
    store(state, q, largest)
    return largest


@njit
def _sgd(nesterov, step, w, g, state, n, h):
    rate, decay = cast(w, 0.0 - load(h, 0)), _given(w, h, 1)
    momentum, fresh = _given(w, h, 2), _rest(w, h, 3)
    for q in range(n):
        gradient = fma(decay, load(w, q), load(g, q))
        buffer = gradient
        if step > 1:
            buffer = fma(momentum, load(state, q), gradient * fresh)
        store(state, q, buffer)
        if nesterov:
            buffer = fma(momentum, buffer, gradient)
        store(w, q, fma(rate, buffer, load(w, q)))


@njit
def _rmsprop(centered, w, g, state, n, h):
    rate, decay = cast(w, 0.0 - load(h, 0)), _given(w, h, 1)
    alpha, rest, eps, momentum = _given(w, h, 2), _rest(w, h, 2), _given(w, h, 3), _given(w, h, 4)
    for q in range(n):
        gradient = fma(decay, load(w, q), load(g, q))
        square = _next_square(state, q, gradient, alpha, rest)
        if centered:
            mean = _next_mean(state, n + q, gradient, rest)
            square = square - mean * mean
        buffer = fma(momentum, load(state, 2 * n + q), gradient / (sqrt(square) + eps))
        store(state, 2 * n + q, buffer)
        store(w, q, fma(rate, buffer, load(w, q)))


@njit
def _adagrad(step, w, g, state, n, h):
    rate, decay = cast(w, (0.0 - load(h, 0)) / (1.0 + (step - 1.0) * load(h, 3))), _given(w, h, 1)
    eps, initial = _given(w, h, 2), _given(w, h, 4)
    for q in range(n):
        gradient = fma(decay, load(w, q), load(g, q))
        before = initial if step == 1 else load(state, q)
        total = fma(gradient, gradient, before)
        store(state, q, total)
        store(w, q, fma(rate, gradient / (sqrt(total) + eps), load(w, q)))


@njit
def _adam(code, w, g, state, n, h, running):
    power1, power2 = _next_power(running, 0, load(h, 2)), _next_power(running, 1, load(h, 3))
    rate, root = cast(w, (0.0 - load(h, 0)) / (1.0 - power1)), cast(w, 1.0 / sqrt(1.0 - power2))
    rest1, beta2, rest2 = _rest(w, h, 2), _given(w, h, 3), _rest(w, h, 3)
    eps, decay, kept = _given(w, h, 4), _given(w, h, 1), cast(w, 1.0 - load(h, 0) * load(h, 1))
    for q in range(n):
        weight, gradient = load(w, q), load(g, q)
        if code == ADAMW:
            weight = weight * kept
        else:
            gradient = fma(decay, weight, gradient)
        mean = _next_mean(state, q, gradient, rest1)
        if code == ADAMAX:
            below = _next_largest(state, n + q, absolute(gradient) + eps, beta2)
        else:
            below = fma(sqrt(_next_square(state, n + q, gradient, beta2, rest2)), root, eps)
        store(w, q, fma(rate, mean / below, weight))


@njit
def _nadam(w, g, state, n, h, running):
    # running: -, beta2^t, 0.96^(t * momentum_decay), product of the momenta so far
    schedule, power2 = _next_power(running, 2, load(h, 5)), _next_power(running, 1, load(h, 3))
    momentum = load(h, 2) * (1.0 - 0.5 * schedule)
    following = load(h, 2) * (1.0 - 0.5 * schedule * load(h, 5))
    product = _next_power(running, 3, momentum)
    of_gradient = cast(w, (0.0 - load(h, 0)) * (1.0 - momentum) / (1.0 - product))
    of_mean = cast(w, (0.0 - load(h, 0)) * following / (1.0 - product * following))
    root, rest1, beta2, rest2 = cast(w, 1.0 / (1.0 - power2)), _rest(w, h, 2), _given(w, h, 3), _rest(w, h, 3)
    eps, decay = _given(w, h, 4), _given(w, h, 1)
    for q in range(n):
        gradient = fma(decay, load(w, q), load(g, q))
        mean = _next_mean(state, q, gradient, rest1)
        below = sqrt(_next_square(state, n + q, gradient, beta2, rest2) * root) + eps
        store(w, q, fma(of_mean, mean / below, fma(of_gradient, gradient / below, load(w, q))))
