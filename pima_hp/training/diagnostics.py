"""Record the diagnostics of runs while they are trained, whichever engine trains them."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pima_hp.config import Config
from pima_hp.config.build import build
from pima_hp.model.diagnostics import Rows, diagnose, distance, update_ratios
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
        self._path: Tensor | float = 0.0
        self._members: dict[str, list[int]] = defaultdict(list)  # activation -> the runs that have it
        for place, config in enumerate(configs):
            self._members[json.dumps(config.activation.node)].append(place)
        if self.section.name != "none":
            self._rows = [(x.view(-1, *x.shape[-2:]), y.view(-1, y.shape[-1])) for x, y in map(rows, ("train", "val"))]
            self._widths = [self._rows[0][0].shape[2], *configs[0].model.hidden_widths]

    def record(self, epoch: int, vectors: Callable[[], Tensor]) -> dict[str, float]:
        """Record the diagnostics after an epoch, if they are asked for, and return those of the first run.

        Args:
            epoch: from 1; 0 is before the first update.
            vectors: returns weights and biases (M or more, P) in the order of `MLP.parameters()`.
        """
        if self.section.name == "none" or (epoch and self.section.name != "epochs"):
            return {}
        found = {name: values.cpu().numpy() for name, values in self._quantities(epoch, vectors()).items()}
        if not epoch:
            self.initial = found
        for name, values in found.items() if epoch else ():
            curve = self.curves.setdefault(DIAGNOSTICS + name, np.full(self._shape, np.nan))
            curve[:, epoch - 1] = values
        return {DIAGNOSTICS + name: float(values[0]) for name, values in found.items()}

    def _quantities(self, epoch: int, vectors: Tensor) -> dict[str, Tensor]:
        """Return quantity -> (M,) of the weights after an epoch."""
        weights = vectors[: self._shape[0]].detach().to(self._rows[0][0], copy=True)
        found: dict[str, Tensor] = {}
        for node, members in self._members.items():
            rows = [(features[members], labels[members]) for features, labels in self._rows]
            of_some = diagnose(
                weights[members], self._widths, build(json.loads(node), nn.Module), *rows,
                curvature=epoch in self.section.curvature,
            )  # fmt: skip
            for name, values in of_some.items():
                found.setdefault(name, values.new_empty(len(weights)))[members] = values
        if self._seen:
            self._path = self._path + distance(weights, self._seen[-1])
            found |= {"distance": distance(weights, self._seen[0]), "path_length": self._path}
            found |= update_ratios(self._seen[-1], weights, self._widths)
        self._seen[1:] = [weights]
        return found
