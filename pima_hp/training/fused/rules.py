"""Update rules of lanes: one for each row of `tables.RULES`, with the formulas of `torch.optim`.

A rule changes the weights w (P rows) from the gradients g and its states in `slots` (slot s of parameter q is
row s * P + q). Hyperparameters come in double precision, a row each in the order of `tables.Rule.names`; what a
step derives from them is computed in double precision and rounded once, as torch does with Python floats.
`running` keeps up to four numbers a member from step to step, ones at first.
"""

from numba import njit

from pima_hp.training.fused.simd import fma, load, magnitude, narrow, splat, sqrt, store, where_greater
from pima_hp.training.fused.tables import ADAGRAD, ADAMAX, ADAMW, NADAM, RMSPROP, SGD


@njit
def update(code, flag, step, w, g, slots, n_parameters, h, running):
    """Make step number `step` (from 1) of one block; `flag` is SGD's `nesterov` or RMSprop's `centered`."""
    if code == SGD:
        _sgd(flag, step, w, g, slots, n_parameters, h)
    elif code == RMSPROP:
        _rmsprop(flag, w, g, slots, n_parameters, h)
    elif code == ADAGRAD:
        _adagrad(step, w, g, slots, n_parameters, h)
    elif code == ADAMAX:
        _adamax(w, g, slots, n_parameters, h, running)
    elif code == NADAM:
        _nadam(w, g, slots, n_parameters, h, running)
    else:
        _adam(code == ADAMW, w, g, slots, n_parameters, h, running)


@njit
def _approached(mean, gradient, rest):
    """Return mean, moved by the share `rest` towards the gradient, from the nearer of the two, as torch's lerp does."""
    distance = gradient - mean
    one, half = splat(mean, 1.0), splat(mean, 0.5)
    from_gradient = fma(rest - one, distance, gradient)
    return where_greater(half, rest, fma(rest, distance, mean), from_gradient)


@njit
def _sgd(nesterov, step, w, g, slots, n_parameters, h):
    rate, decay = narrow(w, splat(h, 0.0) - load(h, 0)), narrow(w, load(h, 1))
    momentum, fresh = narrow(w, load(h, 2)), narrow(w, splat(h, 1.0) - load(h, 3))
    for q in range(n_parameters):
        gradient = fma(decay, load(w, q), load(g, q))
        buffer = gradient
        if step > 1:
            buffer = fma(momentum, load(slots, q), gradient * fresh)
        store(slots, q, buffer)
        if nesterov:
            buffer = fma(momentum, buffer, gradient)
        store(w, q, fma(rate, buffer, load(w, q)))


@njit
def _rmsprop(centered, w, g, slots, n_parameters, h):
    rate, decay = narrow(w, splat(h, 0.0) - load(h, 0)), narrow(w, load(h, 1))
    alpha, rest = narrow(w, load(h, 2)), narrow(w, splat(h, 1.0) - load(h, 2))
    eps, momentum = narrow(w, load(h, 3)), narrow(w, load(h, 4))
    for q in range(n_parameters):
        gradient = fma(decay, load(w, q), load(g, q))
        square = fma(rest, gradient * gradient, alpha * load(slots, q))
        store(slots, q, square)
        if centered:
            mean = load(slots, n_parameters + q)
            mean = _approached(mean, gradient, rest)
            store(slots, n_parameters + q, mean)
            square = square - mean * mean
        buffer = fma(momentum, load(slots, 2 * n_parameters + q), gradient / (sqrt(square) + eps))
        store(slots, 2 * n_parameters + q, buffer)
        store(w, q, fma(rate, buffer, load(w, q)))


@njit
def _adagrad(step, w, g, slots, n_parameters, h):
    slowed = splat(h, 1.0) + splat(h, step - 1.0) * load(h, 3)
    rate, decay = narrow(w, (splat(h, 0.0) - load(h, 0)) / slowed), narrow(w, load(h, 1))
    eps, initial = narrow(w, load(h, 2)), narrow(w, load(h, 4))
    for q in range(n_parameters):
        gradient = fma(decay, load(w, q), load(g, q))
        before = initial if step == 1 else load(slots, q)
        total = fma(gradient, gradient, before)
        store(slots, q, total)
        store(w, q, fma(rate, gradient / (sqrt(total) + eps), load(w, q)))


@njit
def _adam(decoupled, w, g, slots, n_parameters, h, running):
    one = splat(h, 1.0)
    power1, power2 = load(running, 0) * load(h, 2), load(running, 1) * load(h, 3)
    store(running, 0, power1)
    store(running, 1, power2)
    rate = narrow(w, (splat(h, 0.0) - load(h, 0)) / (one - power1))
    root = narrow(w, one / sqrt(one - power2))
    rest1, beta2, rest2 = narrow(w, one - load(h, 2)), narrow(w, load(h, 3)), narrow(w, one - load(h, 3))
    eps, decay = narrow(w, load(h, 4)), narrow(w, load(h, 1))
    kept = narrow(w, one - load(h, 0) * load(h, 1))
    for q in range(n_parameters):
        weight, gradient = load(w, q), load(g, q)
        if decoupled:
            weight = weight * kept
        else:
            gradient = fma(decay, weight, gradient)
        mean = load(slots, q)
        mean = _approached(mean, gradient, rest1)
        square = fma(rest2, gradient * gradient, beta2 * load(slots, n_parameters + q))
        store(slots, q, mean)
        store(slots, n_parameters + q, square)
        store(w, q, fma(rate, mean / fma(sqrt(square), root, eps), weight))


@njit
def _adamax(w, g, slots, n_parameters, h, running):
    one = splat(h, 1.0)
    power1 = load(running, 0) * load(h, 2)
    store(running, 0, power1)
    rate = narrow(w, (splat(h, 0.0) - load(h, 0)) / (one - power1))
    rest1, beta2 = narrow(w, one - load(h, 2)), narrow(w, load(h, 3))
    eps, decay = narrow(w, load(h, 4)), narrow(w, load(h, 1))
    for q in range(n_parameters):
        gradient = fma(decay, load(w, q), load(g, q))
        mean = load(slots, q)
        mean = _approached(mean, gradient, rest1)
        faded, new = beta2 * load(slots, n_parameters + q), magnitude(gradient) + eps
        largest = where_greater(faded, new, faded, new)
        store(slots, q, mean)
        store(slots, n_parameters + q, largest)
        store(w, q, fma(rate, mean / largest, load(w, q)))


@njit
def _nadam(w, g, slots, n_parameters, h, running):
    # running: -, beta2^t, 0.96^(t * momentum_decay), product of the momenta so far
    one, half = splat(h, 1.0), splat(h, 0.5)
    power2, schedule = load(running, 1) * load(h, 3), load(running, 2) * load(h, 5)
    momentum = load(h, 2) * (one - half * schedule)
    following = load(h, 2) * (one - half * schedule * load(h, 5))
    product = load(running, 3) * momentum
    store(running, 1, power2)
    store(running, 2, schedule)
    store(running, 3, product)
    rate = splat(h, 0.0) - load(h, 0)
    of_gradient = narrow(w, rate * (one - momentum) / (one - product))
    of_mean = narrow(w, rate * following / (one - product * following))
    root = narrow(w, one / (one - power2))
    rest1, beta2, rest2 = narrow(w, one - load(h, 2)), narrow(w, load(h, 3)), narrow(w, one - load(h, 3))
    eps, decay = narrow(w, load(h, 4)), narrow(w, load(h, 1))
    for q in range(n_parameters):
        gradient = fma(decay, load(w, q), load(g, q))
        mean = load(slots, q)
        mean = _approached(mean, gradient, rest1)
        square = fma(rest2, gradient * gradient, beta2 * load(slots, n_parameters + q))
        store(slots, q, mean)
        store(slots, n_parameters + q, square)
        below = sqrt(square * root) + eps
        store(w, q, fma(of_mean, mean / below, fma(of_gradient, gradient / below, load(w, q))))
