"""The options of the groups of `conf/`, read without Hydra; the name of a content among them; dotted keys."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from pima_hp.errors import ConfigurationError

_PACKAGED = Path(__file__).parents[1] / "conf"
# The folder of option groups: inside an installed wheel, beside the package in a checkout.
CONF = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"

# Sections that are known by the name of an option, as on the command line: `optimizer=adam`.
NAMED_SECTIONS = ("activation", "optimizer", "scheduler")

Setting = bool | int | float | str | tuple[Any, ...] | None

# Of a YAML file, its aliases expanded: ten lines can stand for 10^10 values.
MAX_LENGTH, MAX_NODES = 2**20, 100_000

# libyaml reads ten times as fast; 1e-3 is a number, as Hydra has it
_Loader: Any = type("_Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d[\d_]*[eE][-+]?\d+$"), list("-+0123456789")
)


def flattened(settings: Mapping[str, Any]) -> dict[str, Setting]:
    """Return nested settings as dotted keys; lists become tuples, so that values can be compared and grouped.

    >>> flattened({"optimizer": {"lr": 0.1, "betas": [0.9, 0.99]}})
    {'optimizer.lr': 0.1, 'optimizer.betas': (0.9, 0.99)}
    """
    flat: dict[str, Setting] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": item for inner, item in flattened(value).items()}
        else:
            flat[key] = tuple(value) if isinstance(value, list) else value
    return flat


@cache
def options(group: str) -> list[str]:
    """Return the names of the options of a group, sorted: what may follow `group=`."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@cache
def option_content(group: str, option: str) -> Mapping[str, Any]:
    """Return the content of an option with that of its `defaults`, interpolations as they are written."""
    own = dict(read_yaml(CONF / group / f"{option}.yaml"))
    content: dict[str, Any] = {}
    for parent in own.pop("defaults", []):
        content |= {} if parent == "_self_" else option_content(group, parent)
    return content | {key: value for key, value in own.items() if key == "_target_" or not key.startswith("_")}


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Return what a YAML file holds.

    Raises:
        ConfigurationError: it is not YAML, too large, or grows too large when its aliases are expanded.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_LENGTH + 1)
        if len(text) > MAX_LENGTH or _expanded_size(yaml.compose(text, _Loader), {}) > MAX_NODES:
            limits = f"{MAX_LENGTH:,} characters and {MAX_NODES:,} values, aliases expanded"
            raise ConfigurationError(f"{path}: must have at most {limits}; found more")
        content: dict[str, Any] | None = yaml.load(text, _Loader)  # noqa: S506 -- a safe loader
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(f"{path}: must be YAML; {' '.join(str(error).split())[:200]}") from error
    return content or {}


def _expanded_size(node: yaml.Node | None, known: dict[int, int]) -> int:
    """Return how many values a node has when each alias is written out; an alias of itself is without end."""
    if id(node) not in known:
        known[id(node)] = MAX_NODES + 1  # until it is known
        children = [] if node is None or isinstance(node.value, str) else node.value
        flat = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
        known[id(node)] = 1 + sum(_expanded_size(child, known) for child in flat)
    return known[id(node)]


def option_name(group: str, content: Mapping[str, Any]) -> str:
    """Return the name of a content: the option with its `_target_` that differs in the fewest arguments.

    An argument that one of the two lacks counts as different. Ties go to the first name in alphabetical order.
    Where no option has this `_target_`, the name is that of the class in snake case.

    Args:
        group: such as `activation`.
        content: `_target_` and arguments.

    >>> option_name("optimizer", {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.5, "nesterov": False})
    'sgd_momentum'
    >>> option_name("activation", {"_target_": "torch.nn.CELU"})
    'celu'
    """
    contents = {option: option_content(group, option) for option in options(group)}
    found = [option for option, known in contents.items() if known["_target_"] == content.get("_target_")]
    if found:
        return min(found, key=lambda option: _n_differing(content, contents[option]))
    # torch's own way to write the names of functions: LeakyReLU is leaky_relu, RAdam is radam
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", str(content.get("_target_")).rpartition(".")[2]).lower()


def _n_differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    """Return how many values differ; 1 is 1.0 but not true."""
    absent = object()
    pairs = [(one.get(key, absent), other.get(key, absent)) for key in {*one, *other}]
    return sum(left != right or isinstance(left, bool) != isinstance(right, bool) for left, right in pairs)
