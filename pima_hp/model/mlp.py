"""The multi-layer perceptron, one or M at once, and its initial weights."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from pima_hp.config.build import build, class_of
from pima_hp.seeds import Role, seeded, stream

# Name -> half-width (of `he_normal` the standard deviation) of a layer's weights, and of its biases.
INITIALIZATIONS: dict[str, Callable[[int, int], tuple[float, float]]] = {
    "uniform": lambda fan_in, fan_out: (0.05, 0.0),  # noqa: ARG005
    "glorot_uniform": lambda fan_in, fan_out: (math.sqrt(6 / (fan_in + fan_out)), 0.0),
    "he_normal": lambda fan_in, fan_out: (math.sqrt(2 / fan_in), 0.0),  # noqa: ARG005
    "torch_default": lambda fan_in, fan_out: (1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in)),  # noqa: ARG005
}

# Activations of torch that are not elementwise, or have parameters or random numbers, which members would share.
_MIX_OR_DRAW = ("GLU", "LogSoftmax", "MultiheadAttention", "PReLU", "RReLU", "Softmax", "Softmax2d", "Softmin")


class StackedLinear(nn.Module):
    """M linear layers of one shape: `nn.Linear` with a leading member axis; members never mix.

    Args:
        n_members: M.
        in_features: D.
        out_features: H.

    Attributes:
        weight: (M, H, D)
        bias: (M, H)

    Shape:
        (M, B, D) -> (M, B, H)

    >>> layer = StackedLinear(n_members=3, in_features=8, out_features=12)
    >>> layer(torch.zeros(3, 5, 8)).shape
    torch.Size([3, 5, 12])
    """

    def __init__(self, n_members: int, in_features: int, out_features: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_features)  # as `nn.Linear`
        self.weight = nn.Parameter(torch.empty(n_members, out_features, in_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_members, out_features).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Map (M, B, D) to (M, B, H)."""
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.mT)


class MLP(nn.Module):
    """Fully connected layers with one hidden activation and a single logit.

    Args:
        n_features: D.
        hidden_widths: of each hidden layer: (12, 8) with D = 8 is the article's 8-12-8-1.
        activation: elementwise, shared by all hidden layers.
        initialization: see `initial_parameters`.
        n_members: M networks at once; None: one.

    Shape:
        (B, D) -> (B,), or (M, B, D) -> (M, B) with `n_members`.

    >>> MLP(8, [12, 8], nn.ReLU())(torch.zeros(5, 8)).shape
    torch.Size([5])
    """

    def __init__(
        self,
        n_features: int,
        hidden_widths: Sequence[int],
        activation: nn.Module,
        initialization: str = "uniform",
        n_members: int | None = None,
    ) -> None:
        super().__init__()
        self.widths, self.initialization, self.n_members = (n_features, *hidden_widths), initialization, n_members
        linear = partial(skip_init, nn.Linear) if n_members is None else partial(StackedLinear, n_members)
        layers: list[nn.Module] = []
        for fan_out, fan_in in layer_shapes(self.widths):
            layers += [linear(fan_in, fan_out), activation]
        self.layers = nn.Sequential(*layers[:-1])
        self.reset_parameters([torch.default_generator] * (n_members or 1))

    @torch.no_grad()
    def reset_parameters(self, generators: Sequence[torch.Generator]) -> None:
        """Draw the initial parameters of each network from its generator; those of an activation stay."""
        layers = [layer for layer in self.layers if isinstance(layer, nn.Linear | StackedLinear)]
        parameters = [parameter for layer in layers for parameter in layer.parameters()]
        dtype, sizes = parameters[0].dtype, [parameter.numel() // len(generators) for parameter in parameters]
        draws = [initial_parameters(self.widths, self.initialization, each, dtype) for each in generators]
        for parameter, values in zip(parameters, torch.stack(draws).split(sizes, dim=1), strict=True):
            parameter.copy_(values.view(parameter.shape))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, D) features to (B,) logits, or (M, B, D) to (M, B)."""
        logits: Tensor = self.layers(features)
        return logits.squeeze(-1)


def is_elementwise(activation: str) -> bool:
    """Whether the class of this name is an elementwise activation of torch without parameters or random numbers."""
    found = class_of(activation, nn.Module)
    of_torch = found.__module__ == nn.modules.activation.__name__ and found.__name__ not in _MIX_OR_DRAW
    return of_torch or found is nn.Identity


def build_network(node: Mapping[str, Any], init_seed: int | Sequence[int], dtype: torch.dtype) -> nn.Module:
    """Return a network with initial weights from the `init` stream, of each member for a stacked `MLP`.

    Args:
        node: `_target_` and arguments; `n_features` and `activation` are dropped where the class does not take them.
        init_seed: one, or one a member.
        dtype: of the weights.
    """
    taken = inspect.signature(class_of(node.get("_target_"), nn.Module)).parameters
    arguments = {key: value for key, value in node.items() if key in taken or key not in ("n_features", "activation")}
    seeds = [init_seed] if isinstance(init_seed, int) else init_seed
    with default_dtype(dtype), seeded(seeds[0], Role.INIT):
        if "activation" in arguments:
            arguments["activation"] = build(arguments["activation"], nn.Module)
        network = build(arguments, nn.Module)
        if isinstance(network, MLP) and network.n_members is not None:
            network.reset_parameters([stream(seed, Role.INIT) for seed in seeds])
    return network


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Let torch make floating-point tensors of this type in a block."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def layer_shapes(widths: Sequence[int]) -> list[tuple[int, int]]:
    """Return (fan_out, fan_in) of each layer, the single logit last."""
    return list(zip([*widths[1:], 1], widths, strict=True))


def initial_parameters(
    widths: Sequence[int], initialization: str, generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """Draw the initial parameters of one network as a vector (P,), in the order of the layers.

    `uniform`: weights U(-0.05, 0.05), biases 0: Keras's `RandomUniform`, which is what
    `kernel_initializer='uniform'` means. `glorot_uniform`: weights U(-a, a) with a = sqrt(6 / (fan_in + fan_out)),
    biases 0 (Glorot, Bengio 2010). `he_normal`: weights N(0, 2 / fan_in), biases 0 (He et al. 2015; Keras
    truncates at two standard deviations, the paper and this do not). `torch_default`: weights and biases
    U(-b, b) with b = 1 / sqrt(fan_in), what `torch.nn.Linear` does.
    """
    scales = _scales(tuple(widths), initialization, dtype)
    if initialization == "he_normal":
        return torch.randn(scales.shape, generator=generator, dtype=dtype) * scales
    return (torch.rand(scales.shape, generator=generator, dtype=dtype) * 2 - 1) * scales


@lru_cache(maxsize=64)
def _scales(widths: tuple[int, ...], initialization: str, dtype: torch.dtype) -> Tensor:
    """Return the number that the noise of each parameter is multiplied by, (P,)."""
    scales: list[float] = []
    for fan_out, fan_in in layer_shapes(widths):
        weight, bias = INITIALIZATIONS[initialization](fan_in, fan_out)
        scales += [weight] * (fan_out * fan_in) + [bias] * fan_out
    return torch.tensor(scales, dtype=dtype)
