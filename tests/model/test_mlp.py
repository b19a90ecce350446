"""The network: shapes, initial weights, and M networks as one."""

import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from pima_hp.config.build import build
from pima_hp.config.options import option_content, options
from pima_hp.model.mlp import MLP, StackedLinear, default_dtype, initial_parameters, layer_shapes
from pima_hp.seeds import Role, seeded, stream
from tests.networks import load_vectors, vectors_of

DTYPES = [torch.float32, torch.float64]
WIDTHS = [[12, 8], [5], [3, 4, 2]]
ACTIVATIONS = options("activation")


def activation_of(option: str) -> nn.Module:
    return build(option_content("activation", option), nn.Module)


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("n_members", [None, 3])
def test_shapes_of_layers_and_of_the_output(widths: list[int], n_members: int | None) -> None:
    model = MLP(8, widths, nn.ReLU(), n_members=n_members)
    leading = () if n_members is None else (n_members,)
    linear = [layer for layer in model.layers if isinstance(layer, nn.Linear | StackedLinear)]
    shapes = [(*leading, *shape) for shape in layer_shapes([8, *widths])]
    assert [tuple(layer.weight.shape) for layer in linear] == shapes
    assert len(model.layers) == 2 * len(widths) + 1, "no activation after the logit"
    assert model(torch.zeros(*leading, 7, 8)).shape == (*leading, 7)


def test_the_article_has_8_12_8_1() -> None:
    model = MLP(8, [12, 8], nn.Tanh())
    assert vectors_of(model).shape == (8 * 12 + 12 + 12 * 8 + 8 + 8 + 1,)
    assert isinstance(model.layers[1], nn.Tanh)


SCALES = {  # half-width or standard deviation of the weights, half-width of the biases, by fan_in and fan_out
    "uniform": lambda _fan_in, _fan_out: (0.05, 0.0),
    "glorot_uniform": lambda fan_in, fan_out: (math.sqrt(6 / (fan_in + fan_out)), 0.0),
    "he_normal": lambda fan_in, _fan_out: (math.sqrt(2 / fan_in), 0.0),
    "torch_default": lambda fan_in, _fan_out: (1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in)),
}


@pytest.mark.parametrize("initialization", SCALES)
def test_initial_parameters_have_the_distribution_of_their_name(initialization: str) -> None:
    vector = initial_parameters([200, 300, 100], initialization, stream(1, Role.INIT), torch.float64)
    start = 0
    for fan_out, fan_in in layer_shapes([200, 300, 100]):
        stop = start + fan_out * fan_in
        weights, biases = vector[start:stop], vector[stop : stop + fan_out]
        start = stop + fan_out
        scale, bias = SCALES[initialization](fan_in, fan_out)
        normal = initialization == "he_normal"
        if len(weights) > 1000:  # of 20,000 draws and more the variance is within 3 % of its expectation
            assert float(weights.var()) == pytest.approx(scale**2 / (1 if normal else 3), rel=0.03)
            assert float(weights.mean()) == pytest.approx(0, abs=0.02 * scale)
        assert normal or weights.abs().max() <= scale
        assert biases.abs().max() <= bias
        assert (biases != 0).any() == (bias > 0)
    assert start == len(vector)


@pytest.mark.parametrize("initialization", SCALES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_global_generator_gives_what_the_stream_of_its_seed_does(initialization: str, dtype: torch.dtype) -> None:
    state = torch.random.get_rng_state()
    with default_dtype(dtype), seeded(3, Role.INIT):
        model = MLP(8, [12, 8], nn.ReLU(), initialization)
    expected = initial_parameters([8, 12, 8], initialization, stream(3, Role.INIT), dtype)
    assert torch.equal(vectors_of(model), expected)
    assert torch.equal(parameters_to_vector(model.parameters()), expected), "in the order of `parameters()`"
    assert torch.equal(torch.random.get_rng_state(), state), "nothing is left changed behind"


def test_each_member_may_draw_from_a_generator_of_its_own() -> None:
    model = MLP(8, [12, 8], nn.ReLU(), n_members=3)
    assert len({tuple(vector.tolist()) for vector in vectors_of(model)}) == 3
    model.reset_parameters([stream(seed, Role.INIT) for seed in (5, 6, 5)])
    for vector, seed in zip(vectors_of(model), (5, 6, 5), strict=True):
        assert torch.equal(vector, initial_parameters([8, 12, 8], "uniform", stream(seed, Role.INIT), torch.float32))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("option", ACTIVATIONS)
def test_members_predict_and_have_gradients_as_each_alone(option: str, dtype: torch.dtype) -> None:
    vectors = [initial_parameters([8, 12, 8], "he_normal", stream(m, Role.INIT), dtype) for m in range(70)]
    stack = MLP(8, [12, 8], activation_of(option), n_members=70).to(dtype)
    load_vectors(stack, torch.stack(vectors))
    assert torch.equal(vectors_of(stack), torch.stack(vectors))
    features = torch.randn(70, 9, 8, generator=stream(0, Role.ORDER), dtype=dtype)  # (M, B, D)
    logits = stack(features)
    logits.square().sum().backward()
    gradients = [parameter.grad for parameter in stack.parameters()]
    # One product of matrices is not summed in the order of another: rounding, nothing more.
    tolerance = {torch.float32: 1e-4, torch.float64: 1e-12}[dtype]
    for index in (0, 1, 63, 64, 69):
        alone = MLP(8, [12, 8], activation_of(option)).to(dtype)
        load_vectors(alone, vectors[index])
        expected = alone(features[index])
        torch.testing.assert_close(logits[index].detach(), expected.detach(), rtol=tolerance, atol=tolerance)
        expected.square().sum().backward()
        for gradient, parameter in zip(gradients, alone.parameters(), strict=True):
            torch.testing.assert_close(gradient[index], parameter.grad, rtol=tolerance, atol=tolerance)


def test_an_activation_with_parameters_keeps_them_when_the_weights_are_drawn() -> None:
    model = MLP(8, [12, 8], nn.PReLU(), n_members=4)
    model.reset_parameters([stream(seed, Role.INIT) for seed in range(4)])
    assert vectors_of(model).shape == (4, 221)
    assert model.layers[1].weight.tolist() == [0.25]
