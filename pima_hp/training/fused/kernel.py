"""One epoch of training and scoring of some blocks of LANES members, compiled.

Arrays have a leading block axis; within a block everything is rows of LANES numbers: parameter q of a
network is row q (in the order of `MLP.parameters()`), feature i of table row r is row i * n + r. Between the
layers, unit u of batch row r is row u * tile + r. Four batch rows are worked on at a time, so that a weight
is read once for four uses and sums do not wait for each other.
"""

import hashlib
from pathlib import Path
from typing import Any

from numba import njit

from pima_hp.training.fused.activations import activate, times_slope
from pima_hp.training.fused.functions import exp, log1p_unit
from pima_hp.training.fused.rules import update
from pima_hp.training.fused.simd import (
    LANES,
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
def _forward(w, widths, code, a, x, start, stride, pre, post, tile, n_rows):
    """Pre-activations and activations of all layers; the logits are the last unit of `pre`."""
    first, unit = 0, 0
    for layer in range(len(widths) - 1):
        fan_in, fan_out = widths[layer], widths[layer + 1]
        bias, begin = first + fan_out * fan_in, unit * tile
        if layer == 0:
            _product(w, first, fan_in, 1, bias, x, start, stride, pre, begin, tile, fan_in, fan_out, n_rows)
        else:
            below = (unit - fan_in) * tile
            _product(w, first, fan_in, 1, bias, post, below, tile, pre, begin, tile, fan_in, fan_out, n_rows)
        if layer < len(widths) - 2:
            # Units lie one after the other, and the unused rows of a last, partial batch do no harm.
            activate(code, pre, post, unit * tile, fan_out * tile, a)
        unit += fan_out
        first += fan_out * (fan_in + 1)


@njit
def _score(z, y, out, at):
    """Add one row's correctness (probability above 0.5) and loss (nats) to rows `at` and `at` + 1 of `out`.

    Returns:
        The probability.
    """
    zero, one, half = splat(z, 0.0), splat(z, 1.0), splat(z, 0.5)
    small = exp(zero - magnitude(z))
    probability = where_greater(zero, z, small, one) / (one + small)
    said = where_greater(probability, half, one, zero)
    correct = one - magnitude(said - y)
    loss = where_greater(z, zero, z, zero) - z * y + log1p_unit(small)
    store(out, at, load(out, at) + widen(correct))
    store(out, at + 1, load(out, at + 1) + widen(where_nan(z, z, loss)))
    return probability


@njit
def _epoch(state, rows, network, optimizer, size, step, work, out):
    """Train one block for an epoch and score its rows as they pass."""
    w, g, slots, running, h = state
    x, y, order, shuffled = rows
    widths, code, a = network
    rule, flag = optimizer
    pre, post, delta, batch = work
    n_rows = len(y) // LANES
    n_layers = len(widths) - 1
    n_units, n_parameters = 0, 0
    for layer in range(n_layers):
        n_units += widths[layer + 1]
        n_parameters += widths[layer + 1] * (widths[layer] + 1)
    last = (n_units - 1) * size
    for start in range(0, n_rows, size):
        count = min(size, n_rows - start)
        source, at, stride = x, start, n_rows
        if shuffled:
            source, at, stride = batch, 0, size
            for r in range(count):
                for lane in range(LANES):
                    row = order[(start + r) * LANES + lane]
                    for i in range(widths[0]):
                        batch[(i * size + r) * LANES + lane] = x[(i * n_rows + row) * LANES + lane]
                    batch[(widths[0] * size + r) * LANES + lane] = y[row * LANES + lane]
        _forward(w, widths, code, a, source, at, stride, pre, post, size, count)
        share = splat(w, 1.0 / count)
        for r in range(count):
            label = load(batch, widths[0] * size + r) if shuffled else load(y, start + r)
            probability = _score(load(pre, last + r), label, out, 0)
            store(delta, last + r, (probability - label) * share)
        first, unit = n_parameters, n_units
        for layer in range(n_layers - 1, -1, -1):
            fan_in, fan_out = widths[layer], widths[layer + 1]
            unit -= fan_out
            first -= fan_out * (fan_in + 1)
            if layer > 0:
                below = unit - fan_in
                at_unit, at_below = unit * size, below * size
                _product(w, first, 1, fan_in, -1, delta, at_unit, size, delta, at_below, size, fan_out, fan_in, count)
                times_slope(code, delta, pre, post, below * size, fan_in * size, a)
                _gradient(g, first, delta, unit, post, below * size, size, size, fan_in, fan_out, count)
            else:
                _gradient(g, first, delta, unit, source, at, stride, size, fan_in, fan_out, count)
        step += 1
        update(rule, flag, step, w, g, slots, n_parameters, h, running)


@njit
def _score_rows(w, widths, code, a, x, y, pre, post, out, at):
    """Score all rows of a split with the weights as they are."""
    n_rows = len(y) // LANES
    n_units = 0
    for layer in range(1, len(widths)):
        n_units += widths[layer]
    for start in range(0, n_rows, SCORED_ROWS):
        count = min(SCORED_ROWS, n_rows - start)
        _forward(w, widths, code, a, x, start, n_rows, pre, post, SCORED_ROWS, count)
        for r in range(count):
            _score(load(pre, (n_units - 1) * SCORED_ROWS + r), load(y, start + r), out, at)


def _compiled(sources: str) -> Any:
    """Return the kernel, compiled once for a machine and a state of these sources.

    numba notices a change of this file alone; the digest of all files here is a part of what it caches by.
    """

    @njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)
    def run_epochs(blocks, network, optimizer, rates, train, val, size, step, work, out):
        """Train and score blocks first .. last for some epochs.

        Args:
            blocks: (first, last).
            network: w (N, P * LANES), widths with input and logit, activation's code, its argument (N, LANES).
            optimizer: rule's code, flag, slots (N, ..), and in double running (N, ..), hyperparameters (N, ..).
            rates: learning rates in double, a row an epoch (N, epochs * LANES).
            train: x (N, D * n * LANES), y (N, n * LANES), order (N, n * LANES), whether to follow it.
            val: x (N, D * n * LANES), y (N, n * LANES).
            size: rows of a batch.
            step: optimizer steps made before.
            work: this thread's own memory, all overwritten: pre-activations, activations, slopes (units * tile * LANES
                each, tile the greater of size and SCORED_ROWS), a shuffled batch, and gradients (P * LANES).
            out: (N, epochs * 6 * LANES) sums, zero at first: correct rows and losses of the epoch as it ran, of the
                training rows at its end, of the watched rows at its end.
        """
        _ = sources
        first, last = blocks
        w, widths, code, argument = network
        rule, flag, slots, running, hyperparameters = optimizer
        x, y, order, shuffled = train
        val_x, val_y = val
        pre, post, delta, batch, g = work
        n_steps = (y.shape[1] // LANES + size - 1) // size
        for b in range(first, last):
            a = load(argument[b], 0)
            state = (w[b], g, slots[b], running[b], hyperparameters[b])
            rows = (x[b], y[b], order[b], shuffled)
            for epoch in range(rates.shape[1] // LANES):
                store(hyperparameters[b], 0, load(rates[b], epoch))
                sums = out[b, epoch * 6 * LANES : (epoch + 1) * 6 * LANES]
                before = step + epoch * n_steps
                _epoch(state, rows, (widths, code, a), (rule, flag), size, before, (pre, post, delta, batch), sums)
                _score_rows(w[b], widths, code, a, x[b], y[b], pre, post, sums, 2)
                _score_rows(w[b], widths, code, a, val_x[b], val_y[b], pre, post, sums, 4)

    return run_epochs


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


run_epochs = _compiled(_digest_of_sources())
