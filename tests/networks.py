"""The weights and biases of a network as vectors."""

import torch
from torch import Tensor, nn

from pima_hp.model.mlp import MLP, StackedLinear


def parameters_of(model: MLP) -> list[nn.Parameter]:
    layers = [layer for layer in model.layers if isinstance(layer, nn.Linear | StackedLinear)]
    return [parameter for layer in layers for parameter in (layer.weight, layer.bias)]


def vectors_of(model: MLP) -> Tensor:
    """Return a copy of the weights and biases of a network as (P,), of M networks as (M, P)."""
    leading = () if model.n_members is None else (model.n_members,)
    return torch.cat([parameter.detach().reshape(*leading, -1) for parameter in parameters_of(model)], dim=-1)


@torch.no_grad()
def load_vectors(model: MLP, vectors: Tensor) -> None:
    """Set the weights and biases of a network from (P,), or of M networks from (M, P)."""
    sizes = [parameter.numel() // (model.n_members or 1) for parameter in parameters_of(model)]
    for parameter, values in zip(parameters_of(model), vectors.split(sizes, dim=-1), strict=True):
        parameter.copy_(values.reshape(parameter.shape))
