"""Epochs of training and scoring of one block of LANES members, in code that numba and Triton both compile.

Everything is rows of LANES numbers: parameter q of a network is row q (in the order of `MLP.parameters()`),
feature i of table row r is row i * n + r. Between the layers, unit u of batch row r is row u * tile + r. Four batch
rows are worked on at a time, so that a weight is read once for four uses and sums do not wait for each other.

Arguments that go together come as tuples:
    network: widths with input and logit, number of layers, units, parameters, code of the activation.
    optimizer: code of the rule, its flag.
    state: weights, gradients, slots, running numbers and hyperparameters (see `rules`), argument of the activation.
    train, rows: features, labels, number of rows.
    shuffling: whether to shuffle, rows of the table in the order of the epoch as whole numbers, memory for a batch.
    work: pre-activations, activations, slopes (units * tile rows each, tile the greater of the batch and SCORED_ROWS).
"""

from numba import njit

from pima_hp.training.fused.activations import activate, times_slope
from pima_hp.training.fused.functions import exp, log1p_unit
from pima_hp.training.fused.rules import update
from pima_hp.training.fused.simd import (
    at,
    copy_chosen,
    fma,
    load,
    magnitude,
    splat,
    store,
    where_greater,
    where_nan,
    widen,
)

SCORED_ROWS = 16  # rows scored at a time: their hidden units stay in the first-level cache
N_SCORES = (
    6  # sums of an epoch: correct rows and losses as it ran, of the training rows at its end, of the watched ones
)


@njit
def _product(w, first, to_out, to_in, bias, source, start, stride, target, begin, tile, n_in, n_out, n_rows):
    """A matrix product by rows: target[o][r] = bias[o] + sum_i source[i][r] * w[first + o * to_out + i * to_in].

    `bias` is the row of `w` with the first bias, below 0 for none; source begins at row `start` with `stride` rows
    from one input to the next, target at row `begin` with `tile` rows from one output to the next.
    """
    zero = splat(w, 0.0)
    for o in range(n_out):
        base = load(w, bias + o) if bias >= 0 else zero
        row, out = first + o * to_out, begin + o * tile
        r = 0
        while r + 4 <= n_rows:
            s0, s1, s2, s3 = base, base, base, base
            for i in range(n_in):
                weight, q = load(w, row + i * to_in), start + i * stride + r
                s0 = fma(load(source, q), weight, s0)
                s1 = fma(load(source, q + 1), weight, s1)
                s2 = fma(load(source, q + 2), weight, s2)
                s3 = fma(load(source, q + 3), weight, s3)
            store(target, out + r, s0)
            store(target, out + r + 1, s1)
            store(target, out + r + 2, s2)
            store(target, out + r + 3, s3)
            r += 4
        while r < n_rows:
            total = base
            for i in range(n_in):
                total = fma(load(source, start + i * stride + r), load(w, row + i * to_in), total)
            store(target, out + r, total)
            r += 1


@njit
def _dot(a, at_a, b, at_b, n_rows):
    """Sum over batch rows of a * b, in four partial sums."""
    s0 = splat(a, 0.0)
    s1, s2, s3 = s0, s0, s0
    r = 0
    while r + 4 <= n_rows:
        s0 = fma(load(a, at_a + r), load(b, at_b + r), s0)
        s1 = fma(load(a, at_a + r + 1), load(b, at_b + r + 1), s1)
        s2 = fma(load(a, at_a + r + 2), load(b, at_b + r + 2), s2)
        s3 = fma(load(a, at_a + r + 3), load(b, at_b + r + 3), s3)
        r += 4
    while r < n_rows:
        s0 = fma(load(a, at_a + r), load(b, at_b + r), s0)
        r += 1
    return (s0 + s1) + (s2 + s3)


@njit
def _gradient(g, first, delta, unit, source, start, stride, tile, fan_in, fan_out, n_rows):
    """Gradients of a layer's weights and biases, summed over batch rows."""
    for k in range(fan_out):
        at = (unit + k) * tile
        for i in range(fan_in):
            store(g, first + k * fan_in + i, _dot(delta, at, source, start + i * stride, n_rows))
        total = splat(g, 0.0)
        for r in range(n_rows):
            total = total + load(delta, at + r)
        store(g, first + fan_out * fan_in + k, total)


@njit
def _forward(w, network, a, x, start, stride, pre, post, tile, n_rows):
    """Pre-activations and activations of all layers; the logits are the last unit of `pre`."""
    widths, n_layers, _, _, code = network
    first, unit = 0, 0
    for layer in range(n_layers):
        fan_in, fan_out = at(widths, layer), at(widths, layer + 1)
        bias, begin = first + fan_out * fan_in, unit * tile
        if layer == 0:
            _product(w, first, fan_in, 1, bias, x, start, stride, pre, begin, tile, fan_in, fan_out, n_rows)
        else:
            below = (unit - fan_in) * tile
            _product(w, first, fan_in, 1, bias, post, below, tile, pre, begin, tile, fan_in, fan_out, n_rows)
        if layer < n_layers - 1:
            # Units lie one after the other, and the unused rows of a last, partial batch do no harm.
            activate(code, pre, post, unit * tile, fan_out * tile, a)
        unit += fan_out
        first += fan_out * (fan_in + 1)


@njit
def _score(z, y, out, row):
    """Add one row's correctness (probability above 0.5) and loss (nats) to rows `row` and `row` + 1 of `out`.

    Returns:
        The probability.
    """
    zero, one, half = splat(z, 0.0), splat(z, 1.0), splat(z, 0.5)
    small = exp(zero - magnitude(z))
    probability = where_greater(zero, z, small, one) / (one + small)
    said = where_greater(probability, half, one, zero)
    correct = one - magnitude(said - y)
    loss = where_greater(z, zero, z, zero) - z * y + log1p_unit(small)
    store(out, row, load(out, row) + widen(correct))
    store(out, row + 1, load(out, row + 1) + widen(where_nan(z, z, loss)))
    return probability


@njit
def _epoch(state, network, optimizer, train, shuffling, size, step, work, out, row):
    """Train for an epoch and add the scores of its rows, as they pass, to rows `row` and `row` + 1 of `out`."""
    w, g, slots, running, h, a = state
    widths, _, n_units, n_parameters, _ = network
    rule, flag = optimizer
    x, y, n_rows = train
    shuffled, order, batch = shuffling
    pre, post, delta = work
    n_features = at(widths, 0)
    last = (n_units - 1) * size
    for start in range(0, n_rows, size):
        count = min(size, n_rows - start)
        source, labels, begin, stride, label = x, y, start, n_rows, start
        if shuffled:
            source, labels, begin, stride, label = batch, batch, 0, size, n_features * size
            for r in range(count):
                for i in range(n_features):
                    copy_chosen(x, i * n_rows, order, start + r, batch, i * size + r)
                copy_chosen(y, 0, order, start + r, batch, label + r)
        _forward(w, network, a, source, begin, stride, pre, post, size, count)
        share = splat(w, 1.0) / splat(w, count)
        for r in range(count):
            truth = load(labels, label + r)
            probability = _score(load(pre, last + r), truth, out, row)
            store(delta, last + r, (probability - truth) * share)
        _backward(w, g, network, a, source, begin, stride, pre, post, delta, size, count)
        step += 1
        update(rule, flag, step, w, g, slots, n_parameters, h, running)


@njit
def _backward(w, g, network, a, x, start, stride, pre, post, delta, tile, n_rows):
    """Gradients of all weights from the slope of the loss in the logits, the last unit of `delta`."""
    widths, n_layers, n_units, n_parameters, code = network
    first, unit = n_parameters, n_units
    for layer in range(n_layers - 1, -1, -1):
        fan_in, fan_out = at(widths, layer), at(widths, layer + 1)
        unit -= fan_out
        first -= fan_out * (fan_in + 1)
        if layer > 0:
            here, below = unit * tile, (unit - fan_in) * tile
            _product(w, first, 1, fan_in, -1, delta, here, tile, delta, below, tile, fan_out, fan_in, n_rows)
            times_slope(code, delta, pre, post, below, fan_in * tile, a)
            _gradient(g, first, delta, unit, post, below, tile, tile, fan_in, fan_out, n_rows)
        else:
            _gradient(g, first, delta, unit, x, start, stride, tile, fan_in, fan_out, n_rows)


@njit
def score_rows(w, network, a, rows, work, out, row):
    """Add the scores of all rows of a split, with the weights as they are, to rows `row` and `row` + 1 of `out`."""
    x, y, n_rows = rows
    pre, post, _ = work
    _, _, n_units, _, _ = network
    for start in range(0, n_rows, SCORED_ROWS):
        count = min(SCORED_ROWS, n_rows - start)
        _forward(w, network, a, x, start, n_rows, pre, post, SCORED_ROWS, count)
        for r in range(count):
            _score(load(pre, (n_units - 1) * SCORED_ROWS + r), load(y, start + r), out, row)


@njit
def train_block(state, network, optimizer, rates, n_epochs, train, shuffling, size, step, work, out, kept):
    """Train one block for some epochs, from optimizer step number `step` on, `size` rows a batch.

    `rates` has a row of learning rates in double an epoch, `out` N_SCORES rows of sums in double, zero at first, of
    which the first two are written here; `kept` receives the weights at the end of each epoch, to be scored.
    """
    w, _, _, _, h, _ = state
    _, _, _, n_parameters, _ = network
    _, _, n_rows = train
    n_steps = (n_rows + size - 1) // size
    for epoch in range(n_epochs):
        store(h, 0, load(rates, epoch))
        before = step + epoch * n_steps
        _epoch(state, network, optimizer, train, shuffling, size, before, work, out, epoch * N_SCORES)
        for q in range(n_parameters):
            store(kept, epoch * n_parameters + q, load(w, q))
