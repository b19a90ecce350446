"""What was asked of a study, written before its first run: `ledger/manifest.json`."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from pima_hp.config import Config, Seeds
from pima_hp.config.flat import Setting, flattened
from pima_hp.data.table import check_unchanged
from pima_hp.errors import StorageError, StudyError
from pima_hp.ledger.atomic import explained, make_folder, write_atomically
from pima_hp.ledger.parts import VERSION, check_version

_ABSENT = "absent"


@dataclass(frozen=True)
class PlannedConfiguration:
    """A configuration and the runs asked of it."""

    label: str  # short name for people and for folders
    settings: Mapping[str, Setting]  # the content of its identity, with dotted keys; `data_digest` is one of them
    runs: Mapping[str, Seeds]  # run id -> its seeds
    paths: Sequence[str | None]  # of its data file, each as it was given; None: the shipped table

    @classmethod
    def of(cls, configuration: Config, label: str, seeds: Iterable[Seeds]) -> Self:
        """The plan to train one configuration with these seeds."""
        runs = {configuration.run_id(run_seeds): run_seeds for run_seeds in seeds}
        return cls(label, flattened(configuration.content), runs, (plain_path(configuration.data.path),))

    def joined(self, other: Self) -> Self:
        """This plan, and the runs and paths that another plan of the same configuration adds."""
        paths = tuple(dict.fromkeys((*self.paths, *other.paths)))
        return replace(self, runs={**self.runs, **other.runs}, paths=paths)

    def shown(self, key: str) -> str:
        """The value of a setting as one would type it; a data file by its path and digest."""
        if key == "data_digest":
            path = self.paths[-1]
            return f"{'the shipped table' if path is None else repr(path)} (digest {str(self.settings[key])[:12]})"
        value = self.settings.get(key, _ABSENT)
        return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class Manifest:
    """What a study is about; `StudyError` where one data file has two contents."""

    configurations: Mapping[str, PlannedConfiguration]  # config_id -> its plan, in the order of the request
    swept_keys: Sequence[str]  # settings meant to differ; `optimizer` covers `optimizer.*`
    versions: Mapping[str, str]  # those the study was begun with (each run records its own)

    def __post_init__(self) -> None:
        digests: dict[str | None, str] = {}
        for planned in self.configurations.values():
            for path in planned.paths:
                now = str(planned.settings["data_digest"])
                check_unchanged(path, digests.setdefault(path, now), now)

    @property
    def run_ids(self) -> list[str]:
        """All planned runs, in order."""
        return [run_id for planned in self.configurations.values() for run_id in planned.runs]

    @property
    def labels(self) -> dict[str, str]:
        """config_id -> label."""
        return {config_id: planned.label for config_id, planned in self.configurations.items()}

    def labeled(self, labels: Mapping[str, str]) -> "Manifest":
        """Return this study with other labels: config_id -> label."""
        configurations = {
            config_id: replace(planned, label=labels[config_id]) for config_id, planned in self.configurations.items()
        }
        return replace(self, configurations=configurations)

    def extended(self, new: "Manifest") -> "Manifest":
        """This study and what `new` adds to it: values of what is swept, and seeds.

        What is there keeps its place, its label and its versions.

        Raises:
            StudyError: a setting that neither request sweeps has another value, or a data file has changed.
        """
        configurations = dict(self.configurations)
        for config_id, planned in new.configurations.items():
            old = configurations.get(config_id)
            configurations[config_id] = old.joined(planned) if old else planned
        joint = Manifest(configurations, tuple(dict.fromkeys((*self.swept_keys, *new.swept_keys))), self.versions)
        varied = self._varied() | new._varied()
        before, after = (next(iter(manifest.configurations.values())) for manifest in (self, new))
        changed = [
            ("data.path" if key == "data_digest" else key, before.shown(key), after.shown(key))
            for key in sorted({*before.settings, *after.settings} - varied)
            if before.settings.get(key, _ABSENT) != after.settings.get(key, _ABSENT)
            and not _covered(key, joint.swept_keys)
        ]
        if changed:
            raise StudyError(
                "\n".join(f"{key}: {old} -> {new}" for key, old, new in changed)
                + "\nwhat a study does not sweep must stay as it was; begin another study (study=OTHER), "
                f"or sweep it (-m {_sweep_of(changed)})"
            )
        return joint

    def write(self, study_folder: Path) -> None:
        """Store it in the study's ledger; an equal manifest is left as it is.

        Raises:
            StorageError: the folder cannot be written.
        """
        path, content = _path(study_folder), self._encoded()
        make_folder(path.parent)
        with explained(path):
            unchanged = path.is_file() and path.read_bytes() == content
        if not unchanged:
            write_atomically(path, content)

    @classmethod
    def read(cls, study_folder: Path) -> Self | None:
        """The manifest of a study; None where none was written.

        Raises:
            StorageError: it is damaged or unreadable.
            StudyError: it was written by another version of the project.
        """
        path = _path(study_folder)
        with explained(path):
            try:
                content = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        try:
            document = _document(content)
            check_version(document["schema_version"], study_folder)
            planned = {config_id: _planned(entry) for config_id, entry in document["configurations"].items()}
            return cls(planned, tuple(document["swept_keys"]), document["versions"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StorageError(
                f"{str(path)!r} must be a manifest of pima_hp; it is damaged; delete it and run the sweep "
                "again: finished runs are kept"
            ) from error

    def _encoded(self) -> bytes:
        document: dict[str, Any] = {
            "schema_version": VERSION,
            "versions": dict(self.versions),
            "swept_keys": list(self.swept_keys),
            "configurations": {
                config_id: {
                    "label": planned.label,
                    "settings": dict(planned.settings),
                    "runs": dict(planned.runs),
                    "paths": list(planned.paths),
                }
                for config_id, planned in self.configurations.items()
            },
        }
        return json.dumps({**document, "digest": _digest(document)}).encode()

    def _varied(self) -> set[str]:
        """The keys that differ between configurations, or that some of them lack."""
        plans = [planned.settings for planned in self.configurations.values()]
        keys = {key for settings in plans for key in settings}
        return {key for key in keys if len({settings.get(key, _ABSENT) for settings in plans}) > 1}


def plain_path(path: str | None) -> str | None:
    """Return a data file's path in its shortest spelling: `./my.csv` is `my.csv`; None is the shipped table."""
    return None if path is None else os.path.normpath(path)


def _document(content: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(content)
    if document["digest"] != _digest(document):
        raise ValueError("it is not what was written")
    return document


def _planned(entry: Mapping[str, Any]) -> PlannedConfiguration:
    runs = {run_id: Seeds(*seeds) for run_id, seeds in entry["runs"].items()}
    return PlannedConfiguration(entry["label"], flattened(entry["settings"]), runs, tuple(entry["paths"]))


def _covered(key: str, swept: Iterable[str]) -> bool:
    """Whether a key is swept, itself or as part of a group; a digest belongs to its path."""
    key = "data.path" if key == "data_digest" else key
    return any(key == name or key.startswith(f"{name}.") for name in swept)


def _sweep_of(changed: Sequence[tuple[str, str, str]]) -> str:
    """The first change as an override of a multirun; another class or file means another option of its group."""
    key, old, new = changed[0]
    group, keys = key.partition(".")[0], {key for key, _, _ in changed}
    if keys == {"data.path"}:
        return "data.path=ONE,OTHER"
    by_option = ("data.path" if group == "data" else f"{group}._target_") in keys
    return f"{group}=ONE,OTHER" if by_option else f"{key}={old},{new}"


def _digest(document: Mapping[str, Any]) -> str:
    """Of everything but the digest itself, so that damage is noticed."""
    text = json.dumps({key: value for key, value in document.items() if key != "digest"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _path(study_folder: Path) -> Path:
    return study_folder / "ledger" / "manifest.json"
