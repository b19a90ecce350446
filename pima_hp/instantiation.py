"""The one place where a name in a YAML becomes an object."""

from typing import Any

from hydra.utils import instantiate

from pima_hp.configuration import ACTIVATION_TARGETS, OPTIMIZER_TARGETS, SCHEDULER_TARGETS, Component
from pima_hp.errors import ConfigurationError

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
        factory = instantiate({"_target_": component.target, "_partial_": True, **component.arguments})
        return factory(*positional)
    except (TypeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"{component.name}: {component.target} refused its arguments: {reason}") from error
