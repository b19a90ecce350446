"""The multi-layer perceptron, one or M at once, and its initial weights."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from pima_hp.config.build import build

INITIALIZATIONS: dict[str, Callable[[int, int], tuple[float, float]]] = {
    "uniform": lambda fan_in, fan_out: (0.05, 0.0),  # noqa: ARG005
    "glorot_uniform": lambda fan_in, fan_out: (math.sqrt(6 / (fan_in + fan_out)), 0.0),
    "he_normal": lambda fan_in, fan_out: (math.sqrt(2 / fan_in), 0.0),  # noqa: ARG005
    "torch_default": lambda fan_in, fan_out: (1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in)),  # noqa: ARG005
}
"""Name -> half-width (of `he_normal` the standard deviation) of a layer's weights, and of its biases."""


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
        self.weight = nn.Parameter(torch.empty(n_members, out_features, in_features))
        self.bias = nn.Parameter(torch.empty(n_members, out_features))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters as `nn.Linear` does."""
        bound = 1 / math.sqrt(self.weight.shape[-1])
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map (M, B, D) to (M, B, H)."""
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.mT)

    def extra_repr(self) -> str:
        """Return the shape, as `print` shows it."""
        n_members, out_features, in_features = self.weight.shape
        return f"n_members={n_members}, in_features={in_features}, out_features={out_features}"


class MLP(nn.Module):
    """Fully connected layers with one hidden activation and a single logit.

    Args:
        n_features: D.
        hidden_widths: of each hidden layer: (12, 8) with D = 8 is the article's 8-12-8-1.
        activation: elementwise, shared by all hidden layers: a module, or its `_target_` and arguments.
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
        activation: Mapping[str, Any] | nn.Module,
        initialization: str = "uniform",
        n_members: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(activation, nn.Module):
            activation = build(activation, nn.Module)
        self.widths, self.initialization, self.n_members = (n_features, *hidden_widths), initialization, n_members
        layers: list[nn.Module] = []
        for fan_out, fan_in in layer_shapes(self.widths):
            if n_members is None:
                layers.append(skip_init(nn.Linear, fan_in, fan_out, device=torch.get_default_device()))
            else:
                layers.append(StackedLinear(n_members, fan_in, fan_out))
            layers.append(activation)
        self.layers = nn.Sequential(*layers[:-1])
        self.reset_parameters()

    def reset_parameters(self, generators: Sequence[torch.Generator] | None = None) -> None:
        """Draw the initial parameters from torch's global generator, or of each member from one of its own."""
        dtype = next(iter(self.parameters())).dtype
        draw = partial(initial_parameters, self.widths, self.initialization, dtype=dtype)
        if generators is None:
            load_vectors(self, draw(torch.default_generator, n_members=self.n_members))
        else:
            load_vectors(self, torch.stack([draw(generator) for generator in generators]))

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, D) features to (B,) logits, or (M, B, D) to (M, B)."""
        logits: Tensor = self.layers(features)
        return logits.squeeze(-1)


@torch.no_grad()
def load_vectors(model: MLP, vectors: Tensor) -> None:
    """Set the weights and biases of a network from (P,), or of M networks from (M, P), in the order of its layers."""
    start = 0
    for layer in model.layers:
        if not isinstance(layer, nn.Linear | StackedLinear):
            continue
        for parameter in (layer.weight, layer.bias):
            stop = start + parameter.numel() // vectors.shape[:-1].numel()
            parameter.copy_(vectors[..., start:stop].reshape(parameter.shape))
            start = stop


def layer_shapes(widths: Sequence[int]) -> list[tuple[int, int]]:
    """Return (fan_out, fan_in) of each layer, the single logit last."""
    return list(zip([*widths[1:], 1], widths, strict=True))


def initial_parameters(
    widths: Sequence[int],
    initialization: str,
    generator: torch.Generator,
    dtype: torch.dtype,
    n_members: int | None = None,
) -> Tensor:
    """Draw the initial parameters of one network as a vector (P,), of M networks as (M, P), in the order of the layers.

    `uniform`: weights U(-0.05, 0.05), biases 0: Keras's `RandomUniform`, which is what
    `kernel_initializer='uniform'` means. `glorot_uniform`: weights U(-a, a) with a = sqrt(6 / (fan_in + fan_out)),
    biases 0 (Glorot, Bengio 2010). `he_normal`: weights N(0, 2 / fan_in), biases 0 (He et al. 2015; Keras
    truncates at two standard deviations, the paper and this do not). `torch_default`: weights and biases
    U(-b, b) with b = 1 / sqrt(fan_in), what `torch.nn.Linear` does.

    All numbers come from one draw, so that a stack draws those of a member in one call.
    """
    scales = _scale_of_each(tuple(widths), initialization, dtype)
    shape = scales.shape if n_members is None else (n_members, *scales.shape)
    if initialization == "he_normal":
        noise = torch.randn(shape, generator=generator, dtype=dtype, device=generator.device)
    else:
        noise = torch.rand(shape, generator=generator, dtype=dtype, device=generator.device) * 2 - 1
    return noise * scales


@lru_cache(maxsize=64)
def _scale_of_each(widths: tuple[int, ...], initialization: str, dtype: torch.dtype) -> Tensor:
    """Return what the noise of each parameter is multiplied by, (P,)."""
    pieces = [
        torch.full((count,), scale, dtype=dtype, device="cpu")
        for fan_out, fan_in in layer_shapes(widths)
        for count, scale in zip(
            (fan_out * fan_in, fan_out), INITIALIZATIONS[initialization](fan_in, fan_out), strict=True
        )
    ]
    return torch.cat(pieces)
