"""M networks as one: every tensor has a leading member axis, and members never mix."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from pima_hp.config import ActivationSection
from pima_hp.config.build import build
from pima_hp.model.mlp import MLP, layer_shapes

Columns = dict[str, Tensor]  # argument -> (M, 1, 1), one value a member

# Activations whose arguments may differ between members; the arguments of any other are shared by its stack.
PER_MEMBER_ACTIVATIONS: dict[str, Callable[[Tensor, Columns], Tensor]] = {
    "torch.nn.LeakyReLU": lambda z, c: torch.where(z > 0, z, z * c["negative_slope"]),
}


class StackedMLP(nn.Module):
    """M `MLP`s of one shape; `from_members` and `member` are the bridge to single ones.

    Args:
        widths: of the input and of each hidden layer.
        activations: the hidden activation of each member, all of one class.
        vectors: (M, P) parameters, a row a member, in the order of `MLP.parameters()`.

    Attributes:
        vectors: the same memory as the layers' weights (M, out, in) and biases (M, 1, out).
    """

    vectors: Tensor

    def __init__(self, widths: Sequence[int], activations: Sequence[ActivationSection], vectors: Tensor) -> None:
        super().__init__()
        self.widths, self.activations = tuple(widths), list(activations)
        self.register_buffer("vectors", vectors.contiguous())
        self._activation = _stacked_activation(activations, vectors)
        self._leaves: list[Tensor] = []

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._activation = _stacked_activation(self.activations, self.vectors)  # follows to another device
        return self

    @classmethod
    def from_members(cls, members: Sequence[MLP], activation: ActivationSection) -> "StackedMLP":
        """Stack networks of one shape."""
        vectors = torch.stack([parameters_to_vector(member.parameters()).detach() for member in members])
        return cls(members[0].widths, [activation] * len(members), vectors)

    def member(self, index: int) -> MLP:
        """Return a copy of one member as an ordinary network."""
        model = MLP(self.widths, build(self.activations[index].node, nn.Module)).to(self.vectors)
        vector_to_parameters(self.vectors[index].clone(), model.parameters())
        return model

    def forward(self, features: Tensor) -> Tensor:
        """Map (M, B, D) features to (M, B) logits; remembers what `gradient` needs."""
        self._leaves = [leaf.requires_grad_() for leaf in self._views(self.vectors)]
        return self._run(features, self._leaves, self._activation)

    def gradient(self, logits: Tensor, slope: Tensor) -> Tensor:
        """Return each member's gradient, (M, P), from `forward`'s logits and the loss's slope there, both (M, B)."""
        gradients = torch.autograd.grad(logits, self._leaves, slope)
        return torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)

    @torch.no_grad()
    def predict(self, features: Tensor, members_at_once: int = 128) -> Tensor:
        """Map (M, N, D) features to (M, N) logits without gradients, a few members at a time to stay in the cache."""
        logits = [
            self._run(rows, self._views(vectors), _stacked_activation(activations, vectors))
            for rows, vectors, activations in zip(
                features.split(members_at_once),
                self.vectors.split(members_at_once),
                _chunks(self.activations, members_at_once),
                strict=True,
            )
        ]
        return torch.cat(logits)

    def _views(self, vectors: Tensor) -> list[Tensor]:
        views, start = [], 0
        for fan_out, fan_in in layer_shapes(self.widths):
            weight = vectors[:, start : start + fan_out * fan_in].view(-1, fan_out, fan_in)
            start += fan_out * fan_in
            views += [weight, vectors[:, start : start + fan_out].unsqueeze(1)]
            start += fan_out
        return views

    @staticmethod
    def _run(features: Tensor, views: list[Tensor], activation: Callable[[Tensor], Tensor]) -> Tensor:
        hidden = features
        for index in range(0, len(views), 2):
            if index:
                hidden = activation(hidden)
            hidden = torch.baddbmm(views[index + 1], hidden, views[index].transpose(1, 2))  # (M, B, out)
        return hidden.squeeze(-1)


def _stacked_activation(sections: Sequence[ActivationSection], like: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the activation of a stack; columns of arguments when its members differ in them."""
    arguments = [section.arguments for section in sections]
    if all(each == arguments[0] for each in arguments):
        activation: nn.Module = build(sections[0].node, nn.Module)
        return activation
    columns = {
        name: torch.tensor([each[name] for each in arguments], dtype=torch.float64).to(like)[:, None, None]
        for name in arguments[0]
    }
    function = PER_MEMBER_ACTIVATIONS[str(sections[0].target)]
    return lambda hidden: function(hidden, columns)


def _chunks(items: Sequence[ActivationSection], size: int) -> list[Sequence[ActivationSection]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
