"""How far a training moves when nothing but rounding changes: measured on solo itself.

A noisy solo run begins with each weight moved by a little of itself, and each value of a sigmoid, a tanh or the error
function of GELU is rounded one unit up or down before a slope is computed from it. The second is needed where units are
saturated: y (1 - y) has no correct digit left where y is 1 to rounding, nor has 1 + erf(z) where z is -4, whichever
library computed them, and an optimizer that divides gradients by their own size (Adam, RMSprop) makes whole steps of
it. Moving weights does not show that.
"""

import math
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pima_hp.model.module import MLPClassifier
from pima_hp.run import Results, Run
from pima_hp.training.solo import module_of
from tests.training.conftest import alone, scores_of


def rounded(exact: Tensor, noise: torch.Generator) -> Tensor:
    """Move numbers between -1 and 1 by one unit in the last place at most."""
    units = torch.randint(-1, 2, exact.shape, generator=noise) * torch.finfo(exact.dtype).eps
    return (exact * (1 + units)).to(exact).clamp(-1, 1)


class OtherRounding(torch.autograd.Function):
    """An activation whose elementary function is at most one unit in the last place from torch's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: nn.Module, noise: torch.Generator) -> Tensor:
        if isinstance(activation, nn.GELU) and activation.approximate == "none":
            cdf = 0.5 * (1 + rounded(torch.erf(x / math.sqrt(2)), noise))
            value, slope = x * cdf, cdf + x * torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
        elif isinstance(activation, nn.GELU):
            tanh = rounded(torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)), noise)
            inner_slope = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)
            value, slope = 0.5 * x * (1 + tanh), 0.5 * (1 + tanh) + 0.5 * x * (1 - tanh * tanh) * inner_slope
        else:
            value = rounded(activation(x), noise)
            slope = 1 - value * value if isinstance(activation, nn.Tanh) else value * (1 - value)
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return above * slope, None, None


class Noisy(nn.Module):
    """An activation of other rounding."""

    def __init__(self, activation: nn.Module, noise: torch.Generator) -> None:
        super().__init__()
        self.activation, self.noise = activation, noise

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = OtherRounding.apply(x, self.activation, self.noise)
        return value


def noisy(run: Run, seed: int, size: float) -> Results:
    """Train one run alone, its initial weights moved by `size` of themselves, zeros by `size` alone."""
    noise = torch.Generator().manual_seed(seed)

    def moved(*arguments: Any) -> MLPClassifier:
        module = module_of(*arguments)
        with torch.no_grad():
            for parameter in module.parameters():
                sign = torch.randint(0, 2, parameter.shape, generator=noise) * 2 - 1
                parameter.add_(torch.where(parameter == 0, 1.0, parameter.abs()) * sign * size)
        for place, layer in enumerate(module.model.layers):
            if isinstance(layer, nn.GELU | nn.Tanh | nn.Sigmoid):
                module.model.layers[place] = Noisy(layer, noise)
        return module

    with mock.patch("pima_hp.training.solo.module_of", moved):
        return alone(run)


def distance(one: Results, other: Results) -> NDArray[np.float64]:
    """Return how far two trainings are apart by the end of each epoch, (E,): of any curve, relative, never falling.

    Loss and accuracy of the test rows, which have no curve, count in the last epoch.
    """
    n_epochs = one.curves["val/loss"].shape[1]
    pairs = [(curve[0], other.curves[key][0]) for key, curve in one.curves.items() if key != "lr"]
    for key in ("test/loss", "test/accuracy"):
        last = np.zeros((2, n_epochs))
        last[:, -1] = [scores_of(of).get(key, np.nan) for of in (one, other)]
        pairs.append((last[0], last[1]))
    apart = np.zeros(n_epochs)
    for a, b in pairs:
        gone = np.isnan(a) != np.isnan(b)
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b) / np.abs(a))
        apart = np.maximum(apart, np.where(gone, np.inf, relative))
    return np.maximum.accumulate(apart)


def sensitivity(run: Run, solo: Results, size: float, n_noisy: int) -> NDArray[np.float64]:
    """Return how far noise moves a training by the end of each epoch, (E,): the most of some noisy runs."""
    return np.max([distance(solo, noisy(run, seed, size)) for seed in range(n_noisy)], axis=0)
