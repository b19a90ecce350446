"""Each diagnostic equals an independent computation: autograd on the network itself, finite differences, numpy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LinearRegression
from torch import Tensor, nn

from pima_hp.model import MLP
from pima_hp.model.diagnostics import (
    activity,
    calibration_error,
    diagnose,
    forward,
    layer_norms,
    linear_r2,
)
from tests.networks import load_vectors

M, N, WIDTHS = 3, 40, [4, 5, 3]
ACTIVATIONS = [nn.ReLU(), nn.LeakyReLU(0.3), nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.Softplus(), nn.Identity()]
EACH = pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)


def data(seed: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (M, P) of all sizes, features and labels, in double precision."""
    rng = torch.Generator().manual_seed(seed)
    n_parameters = 5 * 4 + 5 + 3 * 5 + 3 + 3 + 1
    vectors = torch.randn(M, n_parameters, generator=rng, dtype=torch.float64) * torch.tensor([[0.1], [1.0], [3.0]])
    features = torch.randn(M, N, 4, generator=rng, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.2, 1.0])
    return vectors, features, (torch.rand(M, N, generator=rng) < 0.4).double()


def network_of(vector: Tensor, activation: nn.Module) -> MLP:
    network = MLP(WIDTHS[0], WIDTHS[1:], activation).double()
    load_vectors(network, vector)
    return network


def gradient_of(loss: Tensor, network: nn.Module) -> np.ndarray:
    gradients = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True)
    return torch.cat([each.flatten() for each in gradients]).numpy()


def found_of(activation: nn.Module) -> dict[str, np.ndarray]:
    vectors, *rows = data()
    found = diagnose(vectors, WIDTHS, activation, (rows[0], rows[1]), (rows[0], rows[1]), curvature=True)
    return {name: values.numpy() for name, values in found.items()}


@EACH
def test_gradient_norms_are_those_of_autograd_on_the_network(activation: nn.Module) -> None:
    found = found_of(activation)
    for m, (vector, x, y) in enumerate(zip(*data(), strict=True)):
        network = network_of(vector, activation)
        F.binary_cross_entropy_with_logits(network(x), y).backward()
        weights = [layer.weight for layer in network.layers if isinstance(layer, nn.Linear)]
        for k, weight in enumerate(weights, 1):
            assert weight.grad is not None
            assert found[f"gradient_norm/layer{k}"][m] == pytest.approx(float(weight.grad.norm()), rel=1e-12)
            rms = float(weight.grad.square().mean().sqrt())
            assert found[f"gradient_rms/layer{k}"][m] == pytest.approx(rms, rel=1e-12)


@EACH
def test_slopes_saturation_and_one_sided_units_are_those_of_differences_and_counts(
    activation: nn.Module,
) -> None:
    found, peaks = found_of(activation), {"GELU": 1.1289, "Sigmoid": 0.25}
    for m, (vector, x, _) in enumerate(zip(*data(), strict=True)):
        z = x
        for k, layer in enumerate(network_of(vector, activation).layers[:4:2], 1):
            z = layer(activation(z) if k > 1 else z).detach()
            slopes = (activation(z + 1e-6) - activation(z - 1e-6)) / 2e-6
            peak = peaks.get(type(activation).__name__, 1.0)
            assert found[f"slope/layer{k}"][m] == pytest.approx(float(slopes.mean()) / peak, rel=1e-4)
            h = activation(z).numpy()
            if isinstance(activation, nn.Sigmoid):
                flat = (h < 0.05) | (h > 0.95)
                assert found[f"saturation/layer{k}"][m] == pytest.approx(flat.mean())
            if isinstance(activation, nn.Tanh):
                assert found[f"saturation/layer{k}"][m] == pytest.approx((np.abs(h) > 0.9).mean())
            if isinstance(activation, nn.ReLU):
                assert found[f"dead_units/layer{k}"][m] == pytest.approx((h == 0).all(0).mean())
                assert found[f"always_on_units/layer{k}"][m] == pytest.approx((h > 0).all(0).mean())


def test_dead_and_always_on_units_are_counted_where_their_number_is_planted() -> None:
    z = torch.tensor([[[-1.0, 2.0, 0.0, 1.0], [-2.0, 1.0, 0.0, -1.0]]])
    found = activity([z], [z.relu()], nn.ReLU())
    assert found["dead_units/layer1"].tolist() == [0.5]
    assert found["always_on_units/layer1"].tolist() == [0.25]
    assert "saturation/layer1" not in found
    assert "dead_units/layer1" not in activity([z], [z.tanh()], nn.Tanh())


@EACH
def test_gradient_noise_is_that_of_the_gradient_of_each_row_by_itself(activation: nn.Module) -> None:
    found = found_of(activation)
    for m, (vector, x, y) in enumerate(zip(*data(), strict=True)):
        network = network_of(vector, activation)
        losses = F.binary_cross_entropy_with_logits(network(x), y, reduction="none")
        rows = np.array([gradient_of(loss, network) for loss in losses])  # (n, P)
        trace = rows.var(axis=0, ddof=1).sum()  # of the covariance, unbiased
        squared = (rows.mean(0) ** 2).sum() - trace / N
        assert found["gradient_noise/trace"][m] == pytest.approx(trace, rel=1e-9)
        assert found["gradient_noise/squared_norm"][m] == pytest.approx(squared, rel=1e-9)
        scale = found["gradient_noise_scale"][m]
        assert np.isnan(scale) if squared <= 0 else scale == pytest.approx(trace / squared, rel=1e-9)


def test_gradient_noise_is_unbiased_over_samples_and_missing_where_there_is_no_gradient() -> None:
    """4,000 samples of 8 rows (seed 5) of a population whose gradients are known; to 5 standard errors."""
    rng = np.random.default_rng(5)
    x = torch.tensor(rng.normal(0.5, 1, (4000, 8, 1)))
    rows, vectors = (x, torch.tensor(rng.random((4000, 8)) < 0.5).double()), torch.zeros(4000, 4, dtype=torch.float64)
    vectors[:, 2] = 1.0  # a unit of width 1 and the identity: the logit is 0, its gradient by W_1 is (1/2 - y) x
    found = diagnose(vectors, [1, 1], nn.Identity(), rows, rows, curvature=True)
    truth = {"squared_norm": 0.0, "trace": (0.25 + 1) / 4 + 1 / 4 + 1 / 4}  # of W_1; its bias; the last bias
    for name, value in truth.items():
        values = found[f"gradient_noise/{name}"].numpy()
        assert abs(values.mean() - value) < 5 * values.std() / np.sqrt(4000), name
    assert 0.3 < float(found["gradient_noise_scale"].isnan().double().mean()) < 0.9


def test_the_ends_of_the_hessian_are_those_of_finite_differences_of_the_gradient() -> None:
    for activation in (nn.Tanh(), nn.Softplus()):
        found = found_of(activation)
        for m, (vector, x, y) in enumerate(zip(*data(), strict=True)):

            def gradient(at: Tensor, x: Tensor = x, y: Tensor = y, activation: nn.Module = activation) -> np.ndarray:
                network = network_of(at, activation)
                return gradient_of(F.binary_cross_entropy_with_logits(network(x), y), network)

            steps = torch.eye(len(vector), dtype=torch.float64) * 1e-5
            hessian = np.array([(gradient(vector + step) - gradient(vector - step)) / 2e-5 for step in steps])
            ends = np.linalg.eigvalsh((hessian + hessian.T) / 2)
            assert found["hessian/largest"][m] == pytest.approx(ends[-1], rel=1e-5)
            assert found["hessian/smallest"][m] == pytest.approx(ends[0], rel=1e-5, abs=1e-8)


def test_r2_is_that_of_a_linear_regression_and_missing_where_the_logit_is_constant() -> None:
    vectors, features, _ = data()
    features[:, :, 3] = 7.0  # a constant column
    logits = forward(vectors, WIDTHS, nn.Tanh(), features)[1][-1].squeeze(-1)
    found = linear_r2(features, logits)
    for x, t, r2 in zip(features.numpy(), logits.numpy(), found.tolist(), strict=True):
        assert r2 == pytest.approx(LinearRegression().fit(x, t).score(x, t), rel=1e-9)
    assert linear_r2(features, torch.full((M, N), 0.1, dtype=torch.float64)).isnan().all()
    assert linear_r2(features, features[:, :, 1] * 3 - 2).tolist() == pytest.approx([1, 1, 1])


def test_calibration_error_is_the_gap_between_share_and_probability_of_each_bin() -> None:
    logits = torch.logit(torch.tensor([[0.21, 0.25, 0.9, 1.0]], dtype=torch.float64))  # bins 3, 3, 13 and 14 of 0 to 14
    labels = torch.tensor([[0.0, 1.0, 1.0, 1.0]])
    assert calibration_error(logits, labels).tolist() == pytest.approx([(2 * abs(0.5 - 0.23) + 0.1 + 0) / 4])


def test_movement_is_measured_by_layer_and_as_a_whole() -> None:
    vectors, _, _ = data()
    after = vectors.clone()
    after[:, :25] *= 1.5  # the first layer: 20 weights and 5 biases
    moved, before = layer_norms(after - vectors, WIDTHS), layer_norms(vectors, WIDTHS)
    assert (moved / before)[:, 0].tolist() == pytest.approx([0.5] * M)
    assert moved[:, 1:].tolist() == [[0.0, 0.0]] * M
    assert before.norm(dim=1).tolist() == pytest.approx(vectors.norm(dim=1).tolist())
