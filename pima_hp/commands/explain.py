"""Errors of Hydra and OmegaConf as one line each, with the nearest name that exists."""

import re

import yaml
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import MissingMandatoryValue

from pima_hp.config.options import CONF, option_content, options, read_yaml
from pima_hp.config.problems import SYNONYMS, nearest


def groups() -> list[str]:
    """Return the names of the option groups, sorted."""
    return sorted(path.name for path in CONF.iterdir() if path.is_dir() and any(path.glob("*.yaml")))


def known_keys() -> list[str]:
    """Return the groups and the settings of their options, such as `optimizer` and `optimizer.lr`."""
    sections = [group for group in groups() if group not in ("claim", "debug", "experiment")]
    settings = [
        f"{group}.{key}" for group in sections for option in options(group) for key in option_content(group, option)
    ]
    return [*read_yaml(CONF / "config.yaml"), *groups(), *settings]


def explain(error: Exception) -> str:
    """Return the message of an error as one line, and the nearest name to the one that it quotes."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        allowed = sorted(error.options)
        return f"{group}: must be one of {', '.join(allowed)}; found {name!r:.60}{nearest(name, allowed)}"
    text = " ".join(f"{error} {error.__cause__ or ''}".split())[:300] or type(error).__name__
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}: must be given, for example {error.full_key}=VALUE"
    if isinstance(error, OverrideParseException):
        return f"{error.override!r:.60}: must be written key=value; {text}"
    quoted = re.search(r"(?:override|config group|not found:?|value:) '?([\w.]+)'?", text)
    if quoted is None:
        return text
    key, known = quoted[1], known_keys()
    leaf = key.rpartition(".")[2]
    if key in known:
        return f"{text}; {key} belongs to other options of {key.partition('.')[0]}"
    found = leaf if leaf in SYNONYMS else nearest(key, [*known, *SYNONYMS]).removeprefix("; nearest: ")
    return f"{text}; nearest: {SYNONYMS.get(found, found)}" if found else text


def is_of_hydra(error: Exception) -> bool:
    """Whether Hydra or OmegaConf raised it: then an override or a file of the user is wrong, not our code."""
    if isinstance(error, yaml.YAMLError | UnicodeDecodeError | RecursionError):
        return True
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    raised_in = "" if trace is None or isinstance(error, OSError) else str(trace.tb_frame.f_globals.get("__name__"))
    return any(
        f"{module}.".startswith(("hydra.", "omegaconf.", "antlr4.")) for module in (type(error).__module__, raised_in)
    )
