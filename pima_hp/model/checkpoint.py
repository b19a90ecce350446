"""Read a checkpoint without executing anything that it holds."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from pima_hp.config.build import TRUSTED, class_of
from pima_hp.errors import CheckpointError, ConfigurationError


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the content of a checkpoint of this project: numbers, words, tensors, lists and mappings of them.

    Raises:
        CheckpointError: there is no such local file, it holds anything else, or a class that is not imported.
    """
    name = f"{str(path)!r:.200}"
    if "://" in str(path) or not Path(path).is_file():
        raise CheckpointError(f"{name}: must be a local file that holds a checkpoint; found none")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise CheckpointError(f"{name}: must hold tensors and plain values alone; torch says {reason:.200}") from error
    parts = ("hyper_parameters", "state_dict")
    if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in parts):
        raise CheckpointError(
            f"{name}: must hold {' and '.join(parts)}, as Lightning writes them; found something else"
        )
    for target in _targets(content["hyper_parameters"].get("model")):
        try:
            class_of(target, torch.nn.Module)
        except ConfigurationError as error:
            known = ", ".join(TRUSTED)
            raise CheckpointError(
                f"{name}: names the class {target!r:.80}, which is neither in {known} nor imported; "
                "import it first if you trust it"
            ) from error
    return content


def _targets(node: object) -> Iterator[object]:
    """Yield every `_target_` of a nested node."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
