"""The same work by other means, interleaved: scikit-learn, a bare torch loop, torch.func.vmap, JAX vmap and scan."""

import sys
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from pima_hp.data.prepared import prepare
from pima_hp.data.table import read_table
from pima_hp.model.mlp import initial_parameters
from pima_hp.run import Run
from pima_hp.seeds import Role, stream
from pima_hp.training.fused.engine import fit_stack
from scripts.benchmarks.bare import train_bare
from scripts.benchmarks.timing import medians, runs_of, seconds

EPOCHS = 100
WIDTHS = [8, 12, 8]


def peers() -> None:
    """Print runs of 100 epochs a second, batch 5 and 32, Adam, and the ratio to JAX at the same size of stack."""
    fit_stack(runs_of("n_replicates=2", "trainer.max_epochs=1"))
    for batch in (5, 32):
        contestants: dict[str, Callable[[], float]] = {}
        runs = {
            size: runs_of(f"batch.size={batch}", "optimizer=adam", f"n_replicates={size}")
            for size in (1, 16, 128, 1024)
        }
        contestants["bare torch loop"] = _bare(runs[1][0])
        contestants["scikit-learn"] = _sklearn(runs[1][0], batch)
        for size in (1, 16, 128, 1024):
            contestants[f"pima_hp M={size}"] = _ours(runs[size])
            contestants[f"torch.func.vmap M={size}"] = _vmap(runs[size], batch)
            contestants[f"JAX vmap+scan M={size}"] = _jax(runs[size], batch)
        rates = medians(contestants, repetitions=3)
        print(f"batch {batch}: runs of {EPOCHS} epochs a second")
        for name, rate in rates.items():
            print(f"  {name:<26}{rate:>10.3g}")
        for size in (1, 16, 128, 1024):
            print(f"  M={size}: {rates[f'pima_hp M={size}'] / rates[f'JAX vmap+scan M={size}']:.1f} times JAX")


def _stacked(runs: list[Run]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return training features (M, n, D), labels (M, n) and initial parameters (M, P)."""
    members = [(run.config.data, run.seeds.split) for run in runs]
    features, labels = prepare(read_table(runs[0].config.data), members, torch.float32).tensors("train")
    vectors = [initial_parameters(WIDTHS, "uniform", stream(run.seeds.init, Role.INIT), torch.float32) for run in runs]
    return features, labels, torch.stack(vectors)


def _bare(run: Run) -> Callable[[], float]:
    return lambda: 1 / (seconds(lambda: train_bare(run, 2)) / 2 * EPOCHS)


def _ours(runs: list[Run]) -> Callable[[], float]:
    def measure() -> float:
        return len(runs) / seconds(lambda: fit_stack(runs))  # scores every epoch too, which the peers are spared

    return measure


def _sklearn(run: Run, batch: int) -> Callable[[], float]:
    try:
        from sklearn.neural_network import MLPClassifier
    except ImportError:
        sys.exit("peers: needs scikit-learn and jax: .venv/bin/pip install jax scikit-learn")
    features, labels, _ = (tensor[0].numpy() for tensor in _stacked([run]))

    def measure() -> float:
        model = MLPClassifier((12, 8), batch_size=batch, max_iter=3, n_iter_no_change=10**6, tol=0.0)
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return 1 / (seconds(lambda: model.fit(features, labels)) / 3 * EPOCHS)

    return measure


def _vmap(runs: list[Run], batch: int) -> Callable[[], float]:
    features, labels, start = _stacked(runs)

    def loss(vector: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        hidden, at = x, 0
        for fan_in, fan_out in ((8, 12), (12, 8), (8, 1)):
            weight = vector[at : at + fan_in * fan_out].view(fan_out, fan_in)
            at += fan_in * fan_out
            hidden = F.linear(hidden, weight, vector[at : at + fan_out])
            at += fan_out
            hidden = hidden.relu() if fan_out > 1 else hidden
        return F.binary_cross_entropy_with_logits(hidden.squeeze(-1), y)

    gradient = torch.func.vmap(torch.func.grad(loss))

    def measure(n_steps: int = 20) -> float:
        parameter = torch.nn.Parameter(start.clone())
        optimizer = torch.optim.Adam([parameter], lr=1e-3, eps=1e-7, fused=True)

        def train() -> None:
            for step in range(n_steps):
                rows = slice(step * batch, (step + 1) * batch)
                parameter.grad = gradient(parameter.detach(), features[:, rows], labels[:, rows])
                optimizer.step()

        train()
        return len(runs) / (seconds(train) / n_steps * -(-features.shape[1] // batch) * EPOCHS)

    return measure


def _jax(runs: list[Run], batch: int) -> Callable[[], float]:
    import jax
    import jax.numpy as jnp

    features, labels, start = (np.asarray(tensor) for tensor in _stacked(runs))
    n_batches = features.shape[1] // batch  # whole batches only: scan wants equal shapes
    x = features[:, : n_batches * batch].reshape(len(runs), n_batches, batch, -1)
    y = labels[:, : n_batches * batch].reshape(len(runs), n_batches, batch)

    def loss(vector, x, y):
        hidden, at = x, 0
        for fan_in, fan_out in ((8, 12), (12, 8), (8, 1)):
            weight = vector[at : at + fan_in * fan_out].reshape(fan_out, fan_in)
            at += fan_in * fan_out
            hidden = hidden @ weight.T + vector[at : at + fan_out]
            at += fan_out
            hidden = jnp.maximum(hidden, 0) if fan_out > 1 else hidden
        z = hidden[:, 0]
        return jnp.mean(jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z))))

    def step(state, rows):
        w, m, v, t = state
        g = jax.grad(loss)(w, *rows)
        t = t + 1
        m, v = m + 0.1 * (g - m), v + 0.001 * (g * g - v)
        w = w - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-7)
        return (w, m, v, t), None

    def train(w, x, y):
        zeros = jnp.zeros_like(w)
        return jax.lax.scan(step, (w, zeros, zeros, 0.0), (x, y))[0][0]

    compiled = jax.jit(jax.vmap(train))
    compiled(start, x, y).block_until_ready()

    def measure() -> float:
        took = seconds(lambda: compiled(start, x, y).block_until_ready())
        return len(runs) / (took * EPOCHS)

    return measure
