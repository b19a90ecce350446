"""Epochs of training and scoring of one block of members, in code that numba and Triton both compile.

Everything is rows of LANES numbers: parameter q of a network is row q (in the order of `MLP.parameters()`),
feature i of table row r is row i * n + r. Between the layers, unit u of batch row r is row u * tile + r, where tile is
at least the number of rows.

Arguments that go together come as tuples:
    network: widths with input and logit, number of layers, units, parameters, code of the activation, its argument.
    rows: features, labels, number of rows.
    work: pre-activations, activations, slopes (units * tile rows each).
"""

from numba import njit

from pima_hp.training.fused.activations import activate
from pima_hp.training.fused.functions import logistic
from pima_hp.training.fused.optimizers import update
from pima_hp.training.fused.tables import N_HYPERPARAMETERS, N_RUNNING, N_SCORES, N_STATES, SCORED_ROWS
from pima_hp.training.fused.vector import at, block_of, cast, fma, gather, load, skip, splat, store


@njit
def run_block(
    block, worker,
    n_layers, n_units, n_parameters, activation, rule, flag,
    n_train, n_val, shuffled, n_epochs, size, step,
    weights, state, argument, x, y, val_x, val_y, pre, post, delta, batch, gradients,
    running, hyperparameters, rates, out, order, widths,
):  # fmt: skip
    """Train a block for some epochs and score the weights after each; see `tables.ARGUMENTS`."""
    b, worker = block_of(block), block_of(worker)
    n_features, tile = at(widths, 0), max(size, SCORED_ROWS)
    network = (widths, n_layers, n_units, n_parameters, activation, load(argument, b))
    train = (skip(x, b * n_features * n_train), skip(y, b * n_train), n_train)
    val = (skip(val_x, b * n_features * n_val), skip(val_y, b * n_val), n_val)
    hidden = worker * n_units * tile
    work = (skip(pre, hidden), skip(post, hidden), skip(delta, hidden))
    w, g = skip(weights, b * n_parameters), skip(gradients, worker * n_parameters)
    s, r = skip(state, b * N_STATES * n_parameters), skip(running, b * N_RUNNING)
    h, scores = skip(hyperparameters, b * N_HYPERPARAMETERS), skip(out, b * n_epochs * N_SCORES)
    optimizer = (rule, flag, w, g, s, n_parameters, h, r)
    shuffling = (shuffled, skip(order, b * n_train), skip(batch, worker * (n_features + 1) * tile))
    for epoch in range(n_epochs):
        store(h, 0, load(rates, b * n_epochs + epoch))
        row = epoch * N_SCORES
        step = _pass(True, network, optimizer, train, shuffling, size, step, work, scores, row)
        _pass(False, network, optimizer, train, shuffling, SCORED_ROWS, step, work, scores, row + 2)
        _pass(False, network, optimizer, val, shuffling, SCORED_ROWS, step, work, scores, row + 4)


@njit
def _pass(training, network, optimizer, rows, shuffling, size, step, work, out, row):
    """Count the correct rows of a split in row `row` of `out`, and add up their losses (nats) in the next one.

    With `training`, update the weights after each batch, whose scores are those before.

    Returns:
        Optimizer steps made so far.
    """
    rule, flag, w, g, state, n_parameters, h, running = optimizer
    widths, _, n_units, _, _, _ = network
    x, y, n_rows = rows
    shuffled, order, batch = shuffling
    pre, _, delta = work
    n_features, logit = at(widths, 0), (n_units - 1) * size
    for start in range(0, n_rows, size):
        count = min(size, n_rows - start)
        source, labels, begin, stride, label = x, y, start, n_rows, start
        if training and shuffled:
            source, labels, begin, stride, label = batch, batch, 0, size, n_features * size
            for r in range(count):
                for i in range(n_features):
                    gather(x, i * n_rows, order, start + r, batch, i * size + r)
                gather(y, 0, order, start + r, batch, label + r)
        _forward(w, network, source, begin, stride, work, size, count)
        share = 1.0 / splat(w, count)
        for r in range(count):
            truth = load(labels, label + r)
            probability, correct, loss = logistic(load(pre, logit + r), truth)
            store(out, row, load(out, row) + cast(out, correct))
            store(out, row + 1, load(out, row + 1) + cast(out, loss))
            if training:
                store(delta, logit + r, (probability - truth) * share)
        if training:
            _backward(w, g, network, source, begin, stride, work, size, count)
            step += 1
            update(rule, flag, step, w, g, state, n_parameters, h, running)
    return step


@njit
def _forward(w, network, x, start, stride, work, tile, n_rows):
    """Compute pre-activations and activations of all layers; the logits are the last unit of `pre`."""
    widths, n_layers, _, _, code, a = network
    pre, post, delta = work
    first, unit = 0, 0
    for layer in range(n_layers):
        fan_in, fan_out = at(widths, layer), at(widths, layer + 1)
        inputs = (x, start, 1, stride)
        if layer > 0:
            inputs = (post, (unit - fan_in) * tile, 1, tile)
        bias = first + fan_out * fan_in
        _product((pre, unit * tile, tile, 1), w, bias, (w, first, fan_in, 1), inputs, fan_out, n_rows, fan_in)
        if layer < n_layers - 1:
            # Units lie one after the other, and the unused rows of a last, partial batch do no harm.
            activate(code, False, delta, pre, post, unit * tile, fan_out * tile, a)
        unit += fan_out
        first += fan_out * (fan_in + 1)


@njit
def _backward(w, g, network, x, start, stride, work, tile, n_rows):
    """Compute the gradients of all weights from the slope of the loss in the logits, the last unit of `delta`."""
    widths, n_layers, n_units, n_parameters, code, a = network
    pre, post, delta = work
    first, unit = n_parameters, n_units
    for layer in range(n_layers - 1, -1, -1):
        fan_in, fan_out = at(widths, layer), at(widths, layer + 1)
        unit -= fan_out
        first -= fan_out * (fan_in + 1)
        here, below, inputs = unit * tile, (unit - fan_in) * tile, (x, start, stride, 1)
        if layer > 0:
            inputs = (post, below, tile, 1)
            transposed, slopes = (w, first, 1, fan_in), (delta, here, 1, tile)
            _product((delta, below, tile, 1), w, -1, transposed, slopes, fan_in, n_rows, fan_out)
            activate(code, True, delta, pre, post, below, fan_in * tile, a)
        _product((g, first, 1, fan_in), g, -1, inputs, (delta, here, tile, 1), fan_in, fan_out, n_rows)
        for k in range(fan_out):
            total = splat(g, 0.0)
            for r in range(n_rows):
                total = total + load(delta, here + k * tile + r)
            store(g, first + fan_out * fan_in + k, total)


@njit
def _product(c, bias, bias_first, a, b, n_out, n_rows, n_inner):
    """Compute a matrix product: c[o, r] = bias[o] + sum over i of a[o, i] * b[r, i].

    Each matrix is (array, first, step, step): element [j, k] is row first + j * step + k * step of the array. The bias
    begins at row `bias_first`, below 0 for none. Eight sums are made at a time, of four o and two r: six loads serve
    eight multiplications, and no addition waits for the one before. An odd last r is computed twice.
    """
    c, c_first, c_out, c_row = c
    a, a_first, a_out, a_inner = a
    b, b_first, b_row, b_inner = b
    zero = splat(c, 0.0)
    for o in range(0, n_out - 3, 4):
        above, s = a_first + o * a_out, (zero, zero, zero, zero)
        if bias_first >= 0:
            s = _load_four(bias, bias_first + o, 1)
        for r in range(0, n_rows, 2):
            following = min(1, n_rows - 1 - r)
            here, there = b_first + r * b_row, c_first + o * c_out + r * c_row
            t, u = s, s
            for i in range(n_inner):
                w, q = _load_four(a, above + i * a_inner, a_out), here + i * b_inner
                t, u = _add_four(t, load(b, q), w), _add_four(u, load(b, q + following * b_row), w)
            _store_four(c, there, c_out, t)
            _store_four(c, there + following * c_row, c_out, u)
    for o in range(n_out - n_out % 4, n_out):
        for r in range(n_rows):
            total = load(bias, bias_first + o) if bias_first >= 0 else zero
            for i in range(n_inner):
                w = load(a, a_first + o * a_out + i * a_inner)
                total = fma(load(b, b_first + r * b_row + i * b_inner), w, total)
            store(c, c_first + o * c_out + r * c_row, total)


@njit
def _load_four(array, row, step):
    """Return four rows, `step` apart."""
    return load(array, row), load(array, row + step), load(array, row + 2 * step), load(array, row + 3 * step)


@njit
def _add_four(sums, x, w):
    """Return four sums, to each of which x times its own factor is added."""
    return fma(x, w[0], sums[0]), fma(x, w[1], sums[1]), fma(x, w[2], sums[2]), fma(x, w[3], sums[3])


@njit
def _store_four(array, row, step, values):
    """Write four rows, `step` apart."""
    store(array, row, values[0])
    store(array, row + step, values[1])
    store(array, row + 2 * step, values[2])
    store(array, row + 3 * step, values[3])
