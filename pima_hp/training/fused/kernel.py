"""Epochs of training and scoring of one block of LANES members, in code that numba and Triton both compile.

Everything is rows of LANES numbers: parameter q of a network is row q (in the order of `MLP.parameters()`),
feature i of table row r is row i * n + r. Between the layers, unit u of batch row r is row u * tile + r.

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
from pima_hp.training.fused.tables import N_SCORES, SCORED_ROWS


@njit
def _product(c, bias, a, b, n_out, n_rows, n_inner):
    """A matrix product: c[o, r] = bias[o] + sum over i of a[o, i] * b[r, i].

    Each matrix is (array, first, step, step): element [j, k] is row first + j * step + k * step of the array. `bias`
    is (array, first), first below 0 for none. Eight sums are made at a time: six loads serve eight multiplications,
    and no addition waits for the one before.
    """
    c, c_first, c_out, c_row = c
    a, a_first, a_out, a_inner = a
    b, b_first, b_row, b_inner = b
    bias, bias_first = bias
    zero = splat(c, 0.0)
    o = 0
    while o + 4 <= n_out:
        s0, s1, s2, s3 = zero, zero, zero, zero
        if bias_first >= 0:
            q = bias_first + o
            s0, s1, s2, s3 = load(bias, q), load(bias, q + 1), load(bias, q + 2), load(bias, q + 3)
        r = 0
        while r < n_rows:
            above = a_first + o * a_out
            here, there = b_first + r * b_row, c_first + o * c_out + r * c_row
            t0, t1, t2, t3 = s0, s1, s2, s3
            if r + 2 <= n_rows:
                u0, u1, u2, u3 = s0, s1, s2, s3
                for i in range(n_inner):
                    p, q = above + i * a_inner, here + i * b_inner
                    x, y = load(b, q), load(b, q + b_row)
                    w = load(a, p)
                    t0, u0 = fma(x, w, t0), fma(y, w, u0)
                    w = load(a, p + a_out)
                    t1, u1 = fma(x, w, t1), fma(y, w, u1)
                    w = load(a, p + 2 * a_out)
                    t2, u2 = fma(x, w, t2), fma(y, w, u2)
                    w = load(a, p + 3 * a_out)
                    t3, u3 = fma(x, w, t3), fma(y, w, u3)
                _store_four(c, there + c_row, c_out, u0, u1, u2, u3)
            else:
                for i in range(n_inner):
                    p, x = above + i * a_inner, load(b, here + i * b_inner)
                    t0, t1 = fma(x, load(a, p), t0), fma(x, load(a, p + a_out), t1)
                    t2, t3 = fma(x, load(a, p + 2 * a_out), t2), fma(x, load(a, p + 3 * a_out), t3)
            _store_four(c, there, c_out, t0, t1, t2, t3)
            r += 2
        o += 4
    while o < n_out:
        base = load(bias, bias_first + o) if bias_first >= 0 else zero
        above, r = a_first + o * a_out, 0
        while r + 4 <= n_rows:
            here = b_first + r * b_row
            t0, t1, t2, t3 = base, base, base, base
            for i in range(n_inner):
                w, q = load(a, above + i * a_inner), here + i * b_inner
                t0, t1 = fma(load(b, q), w, t0), fma(load(b, q + b_row), w, t1)
                t2, t3 = fma(load(b, q + 2 * b_row), w, t2), fma(load(b, q + 3 * b_row), w, t3)
            _store_four(c, c_first + o * c_out + r * c_row, c_row, t0, t1, t2, t3)
            r += 4
        while r < n_rows:
            total = base
            for i in range(n_inner):
                total = fma(load(b, b_first + r * b_row + i * b_inner), load(a, above + i * a_inner), total)
            store(c, c_first + o * c_out + r * c_row, total)
            r += 1
        o += 1


@njit
def _store_four(array, row, step, s0, s1, s2, s3):
    """Write four rows, `step` apart."""
    store(array, row, s0)
    store(array, row + step, s1)
    store(array, row + 2 * step, s2)
    store(array, row + 3 * step, s3)


@njit
def _forward(w, begin, network, a, x, start, stride, pre, post, tile, n_rows):
    """Pre-activations and activations of all layers; the logits are the last unit of `pre`.

    The weights begin at row `begin` of `w`.
    """
    widths, n_layers, _, _, code = network
    first, unit = 0, 0
    for layer in range(n_layers):
        fan_in, fan_out = at(widths, layer), at(widths, layer + 1)
        bias, inputs = begin + first + fan_out * fan_in, (x, start, 1, stride)
        if layer > 0:
            inputs = (post, (unit - fan_in) * tile, 1, tile)
        target = (pre, unit * tile, tile, 1)
        _product(target, (w, bias), (w, begin + first, fan_in, 1), inputs, fan_out, n_rows, fan_in)
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
        _forward(w, 0, network, a, source, begin, stride, pre, post, size, count)
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
        here, below, inputs = unit * tile, (unit - fan_in) * tile, (x, start, stride, 1)
        if layer > 0:
            inputs = (post, below, tile, 1)
            transposed, slopes = (w, first, 1, fan_in), (delta, here, 1, tile)
            _product((delta, below, tile, 1), (w, -1), transposed, slopes, fan_in, n_rows, fan_out)
            times_slope(code, delta, pre, post, below, fan_in * tile, a)
        _product((g, first, 1, fan_in), (g, -1), inputs, (delta, here, tile, 1), fan_in, fan_out, n_rows)
        for k in range(fan_out):
            total = splat(g, 0.0)
            for r in range(n_rows):
                total = total + load(delta, here + k * tile + r)
            store(g, first + fan_out * fan_in + k, total)


@njit
def _score_rows(w, first, network, a, rows, work, out, row):
    """Add the scores of all rows of a split, with the weights from row `first` on, to two rows of `out`."""
    x, y, n_rows = rows
    pre, post, _ = work
    _, _, n_units, _, _ = network
    for start in range(0, n_rows, SCORED_ROWS):
        count = min(SCORED_ROWS, n_rows - start)
        _forward(w, first, network, a, x, start, n_rows, pre, post, SCORED_ROWS, count)
        for r in range(count):
            _score(load(pre, (n_units - 1) * SCORED_ROWS + r), load(y, start + r), out, row)


@njit
def score_block(kept, n_epochs, network, a, train, val, work, out):
    """Score the training and the watched rows with the weights that `train_block` kept of each epoch."""
    _, _, _, n_parameters, _ = network
    for epoch in range(n_epochs):
        first, row = epoch * n_parameters, epoch * N_SCORES
        _score_rows(kept, first, network, a, train, work, out, row + 2)
        _score_rows(kept, first, network, a, val, work, out, row + 4)


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
