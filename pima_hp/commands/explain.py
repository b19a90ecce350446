"""What Hydra's and OmegaConf's errors mean, in one line."""

import re
from collections.abc import Sequence

import yaml
from hydra.core.override_parser.types import Override
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import OmegaConf

from pima_hp.config.options import CONF, options
from pima_hp.config.problems import RENAMED, SYNONYMS, nearest, shown
from pima_hp.errors import ConfigurationError

_RESERVED = re.compile(r"(^|[.@])_(partial|args|convert|recursive)_($|[.:])")


def groups() -> list[str]:
    """Return the names of the option groups, sorted."""
    return sorted(path.name for path in CONF.iterdir() if path.is_dir() and any(path.glob("*.yaml")))


def check_overrides(overrides: Sequence[Override]) -> None:
    """Check that each option group gets one option by its name, and that no word of `instantiate` is overridden.

    Raises:
        ConfigurationError: one line per override, with the options allowed.
    """
    problems = []
    for override in overrides:
        group = override.key_or_group
        if _RESERVED.search(group) and not group.startswith("hydra"):
            problems.append(f"{group}: must not be overridden; conf/ sets it")
            continue
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
        if group in ("claim", "debug", "experiment", "hydra"):
            continue
        prefix, owner = ("", "") if path.parent == CONF else (f"{group}.", f"{group}={path.stem}")
        for key, value in OmegaConf.to_container(OmegaConf.load(path)).items():  # type: ignore[union-attr]
            if key in ("defaults", "hydra") or str(key).startswith("_"):
                continue
            inner = [f"{key!s}.{name}" for name in value if not name.startswith("_")] if isinstance(value, dict) else []
            for name in (str(key), *inner):
                keys.setdefault(f"{prefix}{name}", []).append(owner)
    return keys


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
            if match[1] in RENAMED:
                return f"{match[1]}: is called {RENAMED[match[1]]} now"
            return meaning.format(match[1], hint=_hint(match[1]))
    if isinstance(error, yaml.MarkedYAMLError) and (mark := error.problem_mark):
        where = f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}"
        return f"{where}: must be YAML; {' '.join(str(error.problem).split())}"
    if isinstance(error, RecursionError):
        return "settings must not be nested so deeply"
    said = [str(one).strip().partition("\n")[0] for one in (error, error.__cause__) if one and str(one).strip()]
    return " ".join(dict.fromkeys(said))[:300] or type(error).__name__


def _hint(key: str) -> str:
    """Return the nearest setting: an option that has it, a common synonym, or a likely slip of the finger."""
    keys = known_keys()
    leaf = key.rpartition(".")[2]
    if owners := [owner for owner in keys.get(key, []) if owner]:
        return f" with the option chosen; it comes with {', '.join(owners)}"
    if leaf in SYNONYMS:
        return f"; nearest: {SYNONYMS[leaf]}"
    if found := nearest(key, [*keys, *SYNONYMS]):
        name = found.removeprefix("; nearest: ")
        return f"; nearest: {SYNONYMS.get(name, name)}"
    return "; see pima-hp-train --help"


def is_of_hydra(error: Exception) -> bool:
    """Whether Hydra or OmegaConf raised it, by its class or from their code: a user's override, not our mistake."""
    if isinstance(error, yaml.YAMLError | UnicodeDecodeError | RecursionError):
        return True
    theirs = ("hydra.", "omegaconf.", "antlr4.")
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    raised_in = str(trace.tb_frame.f_globals.get("__name__", "")) if trace else ""
    from_their_code = raised_in.startswith(theirs) and not isinstance(error, OSError)  # a full disk is no override
    return f"{type(error).__module__}.".startswith(theirs) or from_their_code
