"""What files from `--config-dir` and experiments may set of Hydra's own settings: checked before Hydra acts on it."""

import re
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser  # Hydra has no public way to read its own flags
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from pima_hp.config.options import CONF, flattened, options, read_yaml
from pima_hp.config.problems import nearest
from pima_hp.errors import ConfigurationError

_MOST_FILES = 1000
_FREE = ("mode", "overrides.", "job.override_dirname", "runtime.", "searchpath", "sweeper.", "launcher.")
"""What may differ: what composition leaves there, and what files may set."""


def check_arguments(arguments: Sequence[str]) -> None:
    """Check flags and the files of `--config-dir` before Hydra runs; on the command line, Hydra's settings are free.

    Raises:
        ConfigurationError: a flag would execute or replace code, or a file sets what it must not.
    """
    asked = get_args_parser().parse_args(list(arguments))
    for flag in ("experimental_rerun", "config_path", "config_name"):
        if getattr(asked, flag):
            name = flag.replace("_", "-")
            raise ConfigurationError(f"--{name}: must not be given; --config-dir adds a folder of your own options")
    if asked.help or asked.hydra_help or asked.shell_completion:
        return
    overrides = OverridesParser.create().parse_overrides(asked.overrides)
    for one in overrides:
        if (CONF / one.key_or_group).is_dir() and isinstance(value := one.value(), int | float | None):
            allowed = options(one.key_or_group)
            told = f"found {str(value).lower()}{nearest(str(value), allowed)}"
            raise ConfigurationError(f"{one.key_or_group}: must be one of {', '.join(allowed)}; {told}")
    search = [one.value() for one in overrides if one.key_or_group == "hydra.searchpath"]
    places = [asked.config_dir, *(place for each in search for place in (each if isinstance(each, list) else [each]))]
    if not (folders := [Path(str(place).removeprefix("file://")) for place in places if place]):
        return
    paths = [path for folder in folders for path in folder.rglob("*.y*ml")]
    if len(paths) > _MOST_FILES:
        raise ConfigurationError(f"--config-dir: must have at most {_MOST_FILES} YAML files; found {len(paths)}")
    for path in paths:
        read_yaml(path)
    lines = {str(one.input_line): one.is_hydra_override() for one in overrides if not one.is_sweep_override()}
    own = [line for line, of_hydra in lines.items() if of_hydra and not line.startswith("hydra.searchpath=")]
    own.append(f"hydra.searchpath=[{','.join(f'file://{folder.absolute()}' for folder in folders)}]")
    found = composed([*own, *(line for line, of_hydra in lines.items() if not of_hydra)])
    check_hydra_settings(found.hydra, composed(own).hydra)
    if not found.hydra.sweeper._target_.endswith(".GridsSweeper"):  # it checks what each job composes
        raise ConfigurationError("hydra/sweeper: must be grids where files of your own are read")


def check_hydra_settings(found: DictConfig, allowed: DictConfig) -> None:
    """Check that files set nothing of Hydra's but the mode, an installed launcher, and parameters of the plugins.

    Raises:
        ConfigurationError: the first setting that differs from what the project and the command line say.
    """
    flat, own = (flattened(OmegaConf.to_container(node)) for node in (found, allowed))  # type: ignore[arg-type]
    for key in sorted(key for key in {*flat, *own} if flat.get(key) != own.get(key)):
        leaf = key.rpartition(".")[2]
        if not key.startswith(_FREE) or (leaf.startswith("_") and key != "launcher._target_"):
            raise ConfigurationError(f"hydra.{key}: must not be set by a file; found {flat.get(key)!r:.60}")
    target, parameters = str(flat["launcher._target_"]), str(OmegaConf.to_container(found.launcher))
    plugins = ("hydra_plugins.", "hydra._internal.core_plugins.")
    if not target.startswith(plugins) or len(re.findall(r"'_\w+_':", parameters)) > 1:
        raise ConfigurationError(
            f"hydra.launcher: must be an installed launcher and its values; found {parameters:.99}"
        )


def composed(overrides: Sequence[str]) -> DictConfig:
    """Compose through Hydra's public API, with the node `hydra`, interpolations as they are written."""
    state = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra.compose("config", overrides=list(overrides), return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = state
