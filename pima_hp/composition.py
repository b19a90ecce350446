"""Composition by Hydra, and what Hydra's complaints mean in one line."""

import difflib
import hashlib
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_automatic_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pima_hp.config.options import CONF, options
from pima_hp.errors import ConfigurationError
from pima_hp.settings import flattened
from pima_hp.validation import nearest, shown

UNNAMED_STUDY = "PIMA_HP_UNNAMED_STUDY"  # environment variable: the name that this command made up


def register_resolvers() -> None:
    """Teach OmegaConf the two names that `conf/config.yaml` uses; safe to call again."""
    OmegaConf.register_new_resolver("unnamed_study", _unnamed_study, replace=True)
    OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)


def _unnamed_study() -> str:
    """Return one name for the whole command, also in worker processes; two commands never share it."""
    if UNNAMED_STUDY not in os.environ:
        os.environ[UNNAMED_STUDY] = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(3)}"
    return os.environ[UNNAMED_STUDY]


def job_folder(overrides: str) -> str:
    """Return a folder name for the overrides of a job: readable, free of separators, at most 100 characters."""
    if not overrides:
        return "baseline"
    safe = re.sub(r"[^A-Za-z0-9._=,+-]", "_", overrides)
    if safe == overrides and len(safe) <= 100 and not safe.startswith("."):
        return safe
    return f"{safe[:83].lstrip('.')}_{hashlib.sha256(overrides.encode()).hexdigest()[:16]}"


def groups() -> list[str]:
    """Return the names of the option groups, sorted."""
    return sorted(path.name for path in CONF.iterdir() if path.is_dir() and any(path.glob("*.yaml")))


def check_choices(overrides: Sequence[Override]) -> None:
    """Check that each option group among overrides gets one option by its name.

    Raises:
        ConfigurationError: one line per override, with the options allowed.
    """
    problems = []
    for override in overrides:
        group = override.key_or_group
        if not (CONF / group).is_dir() or override.is_delete() or override.is_sweep_override():
            continue
        value = override.value()
        if not isinstance(value, str) and not (group == "experiment" and value is None):
            allowed = options(group)
            found = str(override.get_value_element_as_str())
            problems.append(f"{group}: must be one of {', '.join(allowed)}; found {found}{nearest(found, allowed)}")
    if problems:
        raise ConfigurationError(problems)


def known_keys() -> dict[str, list[str]]:
    """Return every key that some option or `config.yaml` defines, such as `optimizer.lr`, with the options that do."""
    keys: dict[str, list[str]] = {group: [] for group in groups()}
    for path in sorted(CONF.rglob("*.yaml")):
        group = path.parent.name
        if group in ("claim", "experiment", "hydra"):
            continue
        prefix, owner = ("", "") if path.parent == CONF else (f"{group}.", f"{group}={path.stem}")
        for key, value in OmegaConf.to_container(OmegaConf.load(path)).items():  # type: ignore[union-attr]
            if key in ("defaults", "hydra"):
                continue
            inner = [f"{key!s}.{name}" for name in value] if isinstance(value, dict) else []
            for name in (str(key), *inner):
                keys.setdefault(f"{prefix}{name}", []).append(owner)
    return keys


def composed_alone(arguments: list[str]) -> DictConfig | None:
    """Compose a single run before Hydra makes folders or objects; None for a sweep, or when only information is asked.

    Raises:
        ConfigurationError: Hydra's own settings name a class that it would call and that is not known here.
    """
    asked = get_args_parser().parse_args(arguments)
    if asked.experimental_rerun:
        raise ConfigurationError("--experimental-rerun: must not be used; it would execute what a pickle file says")
    if asked.help or asked.hydra_help or asked.cfg or asked.info or asked.shell_completion:
        return None
    path = create_automatic_config_search_path(__file__, None, asked.config_path or str(CONF))
    if asked.config_dir:
        path.prepend("command-line", f"file://{Path(asked.config_dir).absolute()}", SearchPathQuery(provider="schema"))
    loader = ConfigLoaderImpl(path)
    name = asked.config_name or "config"
    check_choices(OverridesParser.create(config_loader=loader).parse_overrides(asked.overrides))
    config = loader.load_configuration(name, asked.overrides, RunMode.MULTIRUN, validate_sweep_overrides=False)
    if problems := foreign_code(OmegaConf.to_container(config.hydra)):  # type: ignore[arg-type]
        raise ConfigurationError(problems)
    if asked.multirun or config.hydra.mode == RunMode.MULTIRUN:
        return None
    return loader.load_configuration(name, asked.overrides, RunMode.RUN)


_MEANINGS = (
    (r"Could not override '([^'@]+)", "{0}: no such setting{hint}"),
    (r"looks like a config group override, but config group '([^']+)'", "{0}: no such group{hint}"),
    (
        r"Could not append to config. An item is already at '([^']+)'",
        "{0}: is a setting already; write it without the +",
    ),
    (r"Multiple values for ([^.]+)\. To override a value use", "{0}: has an option already; write it without the +"),
    (r"Ambiguous value for argument '([^']+)'", "{0}: a list of values sweeps and needs -m: pima-hp-train -m {0}"),
    (r"Interpolation key '([^']*)' not found", "${{{0}}}: no such setting{hint}"),
    (
        r"Unsupported interpolation type (\S+)",
        "${{{0}:...}}: no such resolver; write the value, or name a setting: ${{seed}}",
    ),
)
"""What Hydra and OmegaConf say, and what it means."""


def explain(error: Exception) -> str:
    """Return one line for an error of Hydra's composition: what must hold, what was found, the nearest name."""
    text = " ".join(f"{error} {error.__cause__ or ''}".split())
    if isinstance(error, OverrideParseException):
        return f"{shown(error.override)}: must be written key=value; quote what has special characters: 'key=\"a b\"'"
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        allowed = sorted(error.options)
        return f"{group}: must be one of {', '.join(allowed)}; found {shown(name)}{nearest(name, allowed)}"
    for pattern, meaning in _MEANINGS:
        if match := re.search(pattern, text):
            return meaning.format(match[1], hint=_hint(match[1]))
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark):
        where = f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}"
        return f"{where}: must be YAML; {' '.join(str(error.problem).split())}"
    if isinstance(error, RecursionError):
        return "settings must not be nested so deeply"
    said = [str(one).strip().partition("\n")[0] for one in (error, error.__cause__) if one and str(one).strip()]
    return " ".join(dict.fromkeys(said))[:300] or type(error).__name__


def _hint(key: str) -> str:
    keys = known_keys()
    short = {known.rpartition(".")[2]: known for known in keys}
    leaf = key.rpartition(".")[2]
    if owners := [owner for owner in keys.get(key, []) if owner]:
        return f" with the option chosen; it comes with {', '.join(owners)}"
    if found := nearest(key, keys):
        return found
    if close := difflib.get_close_matches(leaf, short, n=1):
        return f"; nearest: {short[close[0]]}"
    return "; see pima-hp-train --help"


_PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")
_LOG_CLASSES = {"logging.FileHandler", "logging.Formatter", "logging.NullHandler", "logging.StreamHandler"}
_LOG_CLASSES |= {"colorlog.ColoredFormatter"}


def foreign_code(hydra_settings: Mapping[str, Any]) -> list[str]:
    """Return one line for each class in Hydra's own settings that Hydra would call, and that is not known here."""
    problems = []
    for key, value in flattened(hydra_settings).items():
        leaf = key.rpartition(".")[2]
        plugin = key in ("launcher._target_", "sweeper._target_") and str(value).startswith(_PLUGINS)
        if (leaf == "_target_" and not plugin) or (leaf in ("class", "()") and value not in _LOG_CLASSES):
            problems.append(f"hydra.{key}: must be in the allow-list of the project; found {value!r:.60}")
    return problems


def is_of_hydra(error: Exception) -> bool:
    """Whether Hydra or OmegaConf raised it, by its class or from their code: a person's override, not our mistake."""
    if isinstance(error, yaml.YAMLError | UnicodeDecodeError | RecursionError):
        return True
    theirs = ("hydra.", "omegaconf.", "antlr4.")
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    raised_in = str(trace.tb_frame.f_globals.get("__name__", "")) if trace else ""
    from_their_code = raised_in.startswith(theirs) and not isinstance(
        error, OSError
    )  # a full disk is nobody's override
    return f"{type(error).__module__}.".startswith(theirs) or from_their_code
