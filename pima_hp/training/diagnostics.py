"""Record the diagnostics of runs while they are trained, whichever engine trains them."""

import json
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pima_hp.config import Config
from pima_hp.config.build import build
from pima_hp.model.diagnostics import Rows, diagnose, layer_norms
from pima_hp.run import DIAGNOSTICS, Array


def vectors_of(network: nn.Module, n_members: int = 1) -> Tensor:
    """Return the weights and biases of a network, or of M stacked ones, as (M, P)."""
    return torch.cat([parameter.detach().reshape(n_members, -1) for parameter in network.parameters()], dim=1)


class Recorder:
    """The diagnostics of M runs that are trained together; it records nothing where their configurations ask for none.

    Args:
        configs: of each run; they differ in numbers alone.
        rows: returns features (M or more, n, D) and labels of a split; of one run also without M.

    Attributes:
        initial: quantity -> (M,) before the first update.
        curves: `diagnostics/<quantity>` -> (M, E)
    """

    def __init__(self, configs: Sequence[Config], rows: Callable[[str], Rows]) -> None:
        self.section, self._shape = configs[0].diagnostics, (len(configs), configs[0].trainer.max_epochs)
        self.initial: dict[str, Array] = {}
        self.curves: dict[str, Array] = {}
        self._seen: list[Tensor] = []  # weights: the first, the last
        self._path = torch.zeros(())
        self._activations = np.array([json.dumps(config.activation.node) for config in configs])
        if self.section.name != "none":
            self._rows = [(x.view(-1, *x.shape[-2:]), y.view(-1, y.shape[-1])) for x, y in map(rows, ("train", "val"))]
            self._widths = [self._rows[0][0].shape[2], *configs[0].model.hidden_widths]

    def record(self, epoch: int, vectors: Callable[[], Tensor]) -> dict[str, float]:
        """Record the diagnostics after an epoch, if they are asked for, and return the first run's, without NaN.

        Args:
            epoch: from 1; 0 is before the first update.
            vectors: returns weights and biases (M or more, P) in the order of `MLP.parameters()`.
        """
        if self.section.name == "none" or (epoch and self.section.name != "epochs"):
            return {}
        found = {name: values.cpu().numpy() for name, values in self._quantities(epoch, vectors()).items()}
        self.initial = self.initial if epoch else found
        for name, values in found.items() if epoch else ():
            self.curves.setdefault(DIAGNOSTICS + name, np.full(self._shape, np.nan))[:, epoch - 1] = values
        return {DIAGNOSTICS + name: float(of[0]) for name, of in found.items() if not np.isnan(of[0])}  # for loggers

    def _quantities(self, epoch: int, vectors: Tensor) -> dict[str, Tensor]:
        """Return quantity -> (M,) of the weights after an epoch."""
        now, found = vectors[: self._shape[0]].detach().to(self._rows[0][0], copy=True), dict[str, Tensor]()
        for node in np.unique(self._activations):  # members of a fused stack may have slopes of their own
            places = torch.from_numpy(np.flatnonzero(self._activations == node))
            train, val = ((x[places], y[places]) for x, y in self._rows)
            activation, curvature = build(json.loads(node), nn.Module), epoch in self.section.curvature
            of_some = diagnose(now[places], self._widths, activation, train, val, curvature=curvature)
            for name, values in of_some.items():
                found.setdefault(name, values.new_empty(len(now)))[places] = values
        if self._seen:
            moved = layer_norms(now - self._seen[-1], self._widths)
            ratios = moved / layer_norms(self._seen[-1], self._widths)  # of theta(e + 1) - theta(e) to theta(e)
            found |= {f"update_ratio/layer{k}": ratio for k, ratio in enumerate(ratios.unbind(1), 1)}
            found["distance"] = layer_norms(now - self._seen[0], self._widths).norm(dim=1)
            found["path_length"] = self._path = self._path.to(moved) + moved.norm(dim=1)
        self._seen[1:] = [now]
        return found
