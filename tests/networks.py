"""The weights and biases of a network as vectors, the inverse of `load_vectors`."""

import torch
from torch import Tensor, nn

from pima_hp.model.mlp import MLP, StackedLinear


def vectors_of(model: MLP) -> Tensor:
    """Return a copy of the weights and biases of a network as (P,), of M networks as (M, P)."""
    leading = () if model.n_members is None else (model.n_members,)
    layers = [layer for layer in model.layers if isinstance(layer, nn.Linear | StackedLinear)]
    parameters = [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    return torch.cat([parameter.detach().reshape(*leading, -1) for parameter in parameters], dim=-1)
