"""The network: shapes, initial weights, and the bridge between single networks and a stack."""

import math

import pytest
import torch
from pima_hp.model.stacked import StackedMLP
from torch import nn
from torch.nn.utils import parameters_to_vector

from pima_hp.config.options import options
from pima_hp.model.mlp import MLP, build_mlp, initial_parameters, layer_shapes
from pima_hp.seeds import Role, stream
from tests.conftest import job_of

DTYPES = [torch.float32, torch.float64]
WIDTHS = [[12, 8], [5], [3, 4, 2]]


def mlp_of(*overrides: str, seed: int = 0, dtype: torch.dtype = torch.float64) -> MLP:
    return build_mlp(job_of(*overrides).config, 8, stream(seed, Role.INIT), dtype)


@pytest.mark.parametrize("widths", WIDTHS)
def test_shapes_of_layers_and_of_the_output(widths: list[int]) -> None:
    model = mlp_of(f"model.hidden_widths={widths}")
    linear = [layer for layer in model.layers if isinstance(layer, nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == layer_shapes([8, *widths])
    assert [tuple(layer.weight.shape) for layer in linear] == list(zip([*widths, 1], [8, *widths], strict=True))
    assert len(model.layers) == 2 * len(widths) + 1, "no activation after the logit"
    assert model(torch.zeros(7, 8, dtype=torch.float64)).shape == (7,)


def test_the_article_has_8_12_8_1() -> None:
    assert sum(parameter.numel() for parameter in mlp_of().parameters()) == 8 * 12 + 12 + 12 * 8 + 8 + 8 + 1


def wide(initialization: str, dtype: torch.dtype = torch.float64) -> list[tuple[int, int, torch.Tensor, torch.Tensor]]:
    """Layers of a wide network: fan_in, fan_out, weights, biases."""
    vector = initial_parameters([200, 300, 100], initialization, stream(1, Role.INIT), dtype)
    layers, start = [], 0
    for fan_out, fan_in in layer_shapes([200, 300, 100]):
        stop = start + fan_out * fan_in
        layers.append((fan_in, fan_out, vector[start:stop], vector[stop : stop + fan_out]))
        start = stop + fan_out
    assert start == len(vector)
    return layers


BOUNDS = {  # of a layer's weights and of its biases, by fan_in and fan_out
    "uniform": lambda _fan_in, _fan_out: (0.05, 0.0),
    "glorot_uniform": lambda fan_in, fan_out: (math.sqrt(6 / (fan_in + fan_out)), 0.0),
    "torch_default": lambda fan_in, _fan_out: (1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in)),
}


@pytest.mark.parametrize("initialization", BOUNDS)
def test_uniform_initialisations_fill_their_bounds(initialization: str) -> None:
    for fan_in, fan_out, weights, biases in wide(initialization):
        bound, bias = BOUNDS[initialization](fan_in, fan_out)
        assert weights.abs().max() <= bound
        if len(weights) > 1000:
            assert weights.max() > 0.99 * bound
            assert weights.min() < -0.99 * bound
            # The variance of U(-b, b) is b**2 / 3; 20,000 draws and more are within 3 % of it.
            assert float(weights.var()) == pytest.approx(bound**2 / 3, rel=0.03)
        assert biases.abs().max() <= bias
        assert (biases != 0).any() == (bias > 0)


def test_he_normal_has_variance_two_over_fan_in_and_zero_biases() -> None:
    for fan_in, _, weights, biases in wide("he_normal"):
        if len(weights) > 1000:
            assert float(weights.var()) == pytest.approx(2 / fan_in, rel=0.03)
            assert float(weights.mean()) == pytest.approx(0, abs=0.02 * math.sqrt(2 / fan_in))
        assert (biases == 0).all()


def test_the_initial_weights_are_a_function_of_the_init_stream_alone() -> None:
    torch.manual_seed(1)
    first = parameters_to_vector(mlp_of(seed=3).parameters())
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    assert torch.equal(parameters_to_vector(mlp_of(seed=3).parameters()), first)
    assert torch.equal(torch.random.get_rng_state(), state), "nothing is drawn from the global generator"
    assert not torch.equal(parameters_to_vector(mlp_of(seed=4).parameters()), first)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("choice", [f"activation={option}" for option in options("activation")])
def test_a_stack_gives_its_members_back_and_predicts_as_they_do(choice: str, dtype: torch.dtype) -> None:
    configuration = job_of(choice, "model.initialization=he_normal").config
    section = configuration.activation
    members = [build_mlp(configuration, 8, stream(seed, Role.INIT), dtype) for seed in range(70)]
    stack = StackedMLP.from_members(members, section)
    features = torch.randn(70, 9, 8, generator=stream(0, Role.ORDER), dtype=dtype)  # (M, B, D)
    logits = stack.predict(features)
    assert logits.shape == (70, 9)
    # One product of matrices is not summed in the order of another: rounding, nothing more.
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-13}[dtype]
    torch.testing.assert_close(stack(features).detach(), logits, rtol=tolerance, atol=tolerance)
    for index in (0, 1, 63, 64, 69):
        member = stack.member(index)
        for mine, given in zip(member.parameters(), members[index].parameters(), strict=True):
            assert torch.equal(mine, given)
        torch.testing.assert_close(logits[index], member(features[index]).detach(), rtol=tolerance, atol=tolerance)


def test_a_member_is_a_copy() -> None:
    section = job_of().config.activation
    stack = StackedMLP.from_members([mlp_of(seed=seed) for seed in range(2)], section)
    with torch.no_grad():
        for parameter in stack.member(0).parameters():
            parameter.zero_()
    assert (stack.vectors[0] != 0).any()


@pytest.mark.parametrize("choice", [f"activation={option}" for option in options("activation")])
def test_the_gradient_of_a_stack_is_that_of_its_members(choice: str) -> None:
    section = job_of(choice).config.activation
    members = [mlp_of(choice, "model.initialization=torch_default", seed=seed) for seed in range(3)]
    stack = StackedMLP.from_members(members, section)
    features = torch.randn(3, 6, 8, generator=stream(1, Role.ORDER), dtype=torch.float64)
    slope = torch.randn(3, 6, generator=stream(2, Role.ORDER), dtype=torch.float64)
    gradients = stack.gradient(stack(features), slope)
    for index, member in enumerate(members):
        expected = torch.autograd.grad(member(features[index]), list(member.parameters()), slope[index])
        # float64, relative to the largest entry
        torch.testing.assert_close(gradients[index], parameters_to_vector(expected), rtol=1e-12, atol=1e-13)
