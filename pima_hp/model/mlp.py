"""The multi-layer perceptron and its initial weights."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from pima_hp.config import Config
from pima_hp.config.build import build


class MLP(nn.Module):
    """Fully connected layers with one hidden activation and a single logit.

    Args:
        widths: of the input and of each hidden layer: (8, 12, 8) is the article's 8-12-8-1.
        activation: elementwise, shared by all hidden layers.
    """

    def __init__(self, widths: Sequence[int], activation: nn.Module) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip(widths, [*widths[1:], 1], strict=True):
            layers += [nn.Linear(fan_in, fan_out), activation]
        self.widths = tuple(widths)
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, D) features to (B,) logits."""
        logits: Tensor = self.layers(features)
        return logits.squeeze(-1)


def layer_shapes(widths: Sequence[int]) -> list[tuple[int, int]]:
    """Return (fan_out, fan_in) of each layer, the single logit last."""
    return list(zip([*widths[1:], 1], widths, strict=True))


def initial_parameters(
    widths: Sequence[int], initialization: str, generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """Draw the initial parameters of one network as a vector (P,), in the order of `MLP.parameters()`.

    `uniform`: weights U(-0.05, 0.05), biases 0: Keras's `RandomUniform`, which is what
    `kernel_initializer='uniform'` means. `glorot_uniform`: weights U(-a, a) with a = sqrt(6 / (fan_in + fan_out)),
    biases 0 (Glorot, Bengio 2010). `he_normal`: weights N(0, 2 / fan_in), biases 0 (He et al. 2015; Keras
    truncates at two standard deviations, the paper and this do not). `torch_default`: weights and biases
    U(-b, b) with b = 1 / sqrt(fan_in), what `torch.nn.Linear` does.

    All numbers come from one draw of length P, so that a stack draws them for a member in one call.
    """
    scales = _scale_of_each(tuple(widths), initialization, dtype)
    if initialization == "he_normal":
        noise = torch.randn(len(scales), generator=generator, dtype=dtype)
    else:
        noise = torch.rand(len(scales), generator=generator, dtype=dtype) * 2 - 1
    return noise * scales


@lru_cache(maxsize=64)
def _scale_of_each(widths: tuple[int, ...], initialization: str, dtype: torch.dtype) -> Tensor:
    """Return what the noise of each parameter is multiplied by, (P,)."""
    pieces = [
        torch.full((count,), scale, dtype=dtype)
        for fan_out, fan_in in layer_shapes(widths)
        for count, scale in zip((fan_out * fan_in, fan_out), _scales(initialization, fan_in, fan_out), strict=True)
    ]
    return torch.cat(pieces)


def _scales(initialization: str, fan_in: int, fan_out: int) -> tuple[float, float]:
    """Return the half-width (or standard deviation) of a layer's weights and of its biases."""
    return {
        "uniform": (0.05, 0.0),
        "glorot_uniform": (math.sqrt(6 / (fan_in + fan_out)), 0.0),
        "he_normal": (math.sqrt(2 / fan_in), 0.0),
        "torch_default": (1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in)),
    }[initialization]


def build_mlp(configuration: Config, n_features: int, generator: torch.Generator, dtype: torch.dtype) -> MLP:
    """Build the network of a configuration with initial weights from the run's `init` stream."""
    widths = [n_features, *configuration.model.hidden_widths]
    with torch.device("meta"):  # nothing is drawn from the global generator
        model = MLP(widths, build(configuration.activation.node, nn.Module))
    model = model.to_empty(device="cpu").to(dtype)
    vector = initial_parameters(widths, configuration.model.initialization, generator, dtype)
    vector_to_parameters(vector, model.parameters())
    return model
