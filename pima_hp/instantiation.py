"""The one place where a name in a YAML becomes an object."""

from collections.abc import Mapping
from typing import Any

from hydra.utils import get_class

from pima_hp.config import ACTIVATION_TARGETS, OPTIMIZER_TARGETS, SCHEDULER_TARGETS, Component
from pima_hp.errors import ConfigurationError
from pima_hp.settings import flattened

_PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")
_LOG_CLASSES = {"logging.FileHandler", "logging.Formatter", "logging.NullHandler", "logging.StreamHandler"}
_LOG_CLASSES |= {"colorlog.ColoredFormatter"}

ALLOWED_TARGETS = ACTIVATION_TARGETS | OPTIMIZER_TARGETS | SCHEDULER_TARGETS


def build(component: Component, *positional: Any) -> Any:
    """Return the object that a component of the configuration describes.

    Args:
        component: its class by name, from the allow-list, and its arguments.
        positional: objects that no YAML can hold (parameters of a model, an optimizer).

    Raises:
        ConfigurationError: the class does not take these arguments.
    """
    if component.target not in ALLOWED_TARGETS:
        raise ConfigurationError(f"{component.name}: _target_ {component.target!r} is not in the allow-list")
    try:
        # `instantiate` would also interpret `_args_` and interpolations.
        return get_class(component.target)(*positional, **component.arguments)
    except (TypeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"{component.name}: {component.target} refused its arguments: {reason}") from error


def foreign_code(hydra_settings: Mapping[str, Any]) -> list[str]:
    """Return one line for each class in Hydra's own settings that Hydra would call, and that is not known here.

    Args:
        hydra_settings: the node `hydra`, not resolved: callbacks, plugins and log handlers name classes.
    """
    problems = []
    for key, value in flattened(hydra_settings).items():
        leaf = key.rpartition(".")[2]
        plugin = key in ("launcher._target_", "sweeper._target_") and str(value).startswith(_PLUGINS)
        if (leaf == "_target_" and not plugin) or (leaf in ("class", "()") and value not in _LOG_CLASSES):
            problems.append(f"hydra.{key}: must be in the allow-list of the project; found {value!r:.60}")
    return problems
