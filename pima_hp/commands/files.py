"""What a file from `--config-dir` may set of Hydra's own settings: checked before Hydra acts on it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser  # Hydra has no public way to read its own flags
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from pima_hp.commands.explain import check_overrides
from pima_hp.config.flat import flattened
from pima_hp.config.options import CONF, read_yaml
from pima_hp.errors import ConfigurationError

_MOST_FILES = 1000
_PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")
_FREE = (
    "mode",
    "overrides.",
    "job.override_dirname",
    "runtime.",
    "searchpath",
    "sweeper.",
    "launcher.",
)
"""What may differ: the outcome of composition (overrides, runtime), and what files may set."""


def check_arguments(arguments: Sequence[str]) -> None:
    """Check flags, overrides and the files of `--config-dir` before Hydra runs.

    On the command line, Hydra's own settings are the user's. A file may set `hydra.mode`, the sweeper and the launcher
    (installed ones) and their parameters; it may not name log files, callbacks, search paths or folders.

    Raises:
        ConfigurationError: one line for each problem.
    """
    asked = get_args_parser().parse_args(list(arguments))
    if asked.experimental_rerun:
        raise ConfigurationError("--experimental-rerun: must not be used; it would execute what a pickle file says")
    if asked.config_path:
        raise ConfigurationError("--config-path: must not be given; --config-dir adds a folder of your own options")
    if asked.config_name not in (None, "config"):
        raise ConfigurationError(
            "--config-name: must be config; put settings of your own into conf/experiment/NAME.yaml"
        )
    if asked.help or asked.hydra_help or asked.shell_completion:
        return
    overrides = OverridesParser.create().parse_overrides(asked.overrides)
    check_overrides(overrides)
    own = [str(one.input_line) for one in overrides if one.is_hydra_override()]
    search = [one.value() for one in overrides if one.key_or_group == "hydra.searchpath"]
    places = [asked.config_dir, *(place for each in search for place in (each if isinstance(each, list) else [each]))]
    folders = [Path(str(place).removeprefix("file://")) for place in places if place]
    if not folders:
        return
    for folder in folders:
        paths = sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")])
        if len(paths) > _MOST_FILES:
            raise ConfigurationError(f"{folder}: must have at most {_MOST_FILES:,} YAML files; found {len(paths):,}")
        for path in paths:
            read_yaml(path)
    swept = [one.key_or_group for one in overrides if one.is_sweep_override()]
    if swept and any(line.startswith("hydra/sweeper=") and line != "hydra/sweeper=grids" for line in own):
        raise ConfigurationError(f"{swept[0]}: with files of your own, only hydra/sweeper=grids may sweep")
    own = [line for line in own if not line.startswith("hydra.searchpath=")]
    own.append(f"hydra.searchpath=[{','.join(f'file://{folder.absolute()}' for folder in folders)}]")
    others = [str(one.input_line) for one in overrides if not (one.is_sweep_override() or one.is_hydra_override())]
    theirs, ours = _hydra_settings([*own, *others]), _hydra_settings(own)
    check_hydra_settings(theirs, ours)


def check_hydra_settings(found: Mapping[str, Any], allowed: Mapping[str, Any]) -> None:
    """Check that Hydra's own settings are those of the project and of the command line.

    Raises:
        ConfigurationError: one line for each setting that a file has changed.
    """
    flat, own = flattened(found), flattened(allowed)
    plugins = {name: value for name, value in found.items() if name in ("launcher", "sweeper")}
    problems = [
        f"hydra.{name}: must not contain {word}; found it below the plugin"
        for name, node in plugins.items()
        for word in dict.fromkeys(_words_of_instantiate(node))
    ]
    for key in sorted({*flat, *own}):
        plugin = key in ("launcher._target_", "sweeper._target_")
        if plugin and not str(flat.get(key)).startswith(_PLUGINS):
            problems.append(f"hydra.{key}: must be an installed plugin of Hydra; found {flat.get(key)!r:.60}")
        elif not key.startswith(_FREE) and flat.get(key) != own.get(key):
            problems.append(
                f"hydra.{key}: must not be set by a file, only on the command line; found {flat.get(key)!r:.60}"
            )
        elif key.endswith("._target_") and not plugin and flat.get(key) != own.get(key):
            problems.append(f"hydra.{key}: must not be set by a file; found {flat.get(key)!r:.60}")
    if problems:
        raise ConfigurationError(problems)


def _words_of_instantiate(node: Any, *, top: bool = True) -> Iterator[str]:
    """Yield the keys anywhere in a plugin's settings that Hydra's `instantiate` would act on, but for its own class."""
    if isinstance(node, Mapping):
        own = ("_target_", "_recursive_") if top else ()
        yield from (str(key) for key in node if str(key).startswith("_") and key not in own)
    for inner in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        yield from _words_of_instantiate(inner, top=False)


def _hydra_settings(overrides: Sequence[str]) -> Mapping[str, Any]:
    """Compose through Hydra's public API and return the node `hydra`, interpolations as they are written."""
    state = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = hydra.compose("config", overrides=list(overrides), return_hydra_config=True)
        settings: Mapping[str, Any] = OmegaConf.to_container(cfg.hydra)  # type: ignore[assignment]
        return settings
    finally:
        GlobalHydra.instance().hydra = state
