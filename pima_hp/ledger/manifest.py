"""What was asked of a study, written before its first run: `ledger/manifest.json`."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from pima_hp.configuration import SCHEMA_VERSION, Configuration, RunSeeds
from pima_hp.errors import StorageError, StudyError
from pima_hp.ledger.atomic import explained, make_folder, write_atomically
from pima_hp.settings import Setting, flattened

_SEED_FIELDS = ("seed", "init", "split", "order")
_ABSENT = "absent"


@dataclass(frozen=True)
class PlannedConfiguration:
    """A configuration and the runs asked of it."""

    label: str  # short name for people and for folders
    settings: Mapping[str, Setting]  # the content of its identity, with dotted keys; `data_digest` is one of them
    runs: Mapping[str, RunSeeds]  # run id -> its seeds

    @classmethod
    def of(cls, configuration: Configuration, label: str, seeds: Iterable[RunSeeds]) -> Self:
        """The plan to train one configuration with these seeds."""
        runs = {configuration.run_id(run_seeds): run_seeds for run_seeds in seeds}
        return cls(label, flattened(configuration.content), runs)


@dataclass(frozen=True)
class Manifest:
    """What a study is about."""

    configurations: Mapping[str, PlannedConfiguration]  # config_id -> its plan, in the order of the request
    swept_keys: Sequence[str]  # settings meant to differ; `optimizer` covers `optimizer.*`, `data` the digest too
    versions: Mapping[str, str]  # those the study was begun with (each run records its own)

    @property
    def run_ids(self) -> list[str]:
        """All planned runs, in order."""
        return [run_id for planned in self.configurations.values() for run_id in planned.runs]

    @property
    def labels(self) -> dict[str, str]:
        """config_id -> label."""
        return {config_id: planned.label for config_id, planned in self.configurations.items()}

    def extended(self, new: "Manifest") -> "Manifest":
        """This study and what `new` adds to it: values of what is swept, and seeds.

        What is there keeps its place, its label and its versions.

        Raises:
            StudyError: a setting that neither request sweeps has another value.
        """
        swept = tuple(dict.fromkeys((*self.swept_keys, *new.swept_keys)))
        varied = self._varied() | new._varied()
        before, after = self._first_settings(), new._first_settings()
        constant = {*before, *after} - varied
        changed = [
            (key, _shown(before.get(key, _ABSENT)), _shown(after.get(key, _ABSENT)))
            for key in sorted(constant)
            if before.get(key, _ABSENT) != after.get(key, _ABSENT) and not _covered(key, swept)
        ]
        if changed:
            raise StudyError(
                "\n".join(f"{key}: {old} -> {new}" for key, old, new in changed)
                + "\nwhat a study does not sweep must stay as it was; begin another study (study=OTHER), "
                f"or sweep it (-m {_sweep_of(changed)})"
            )
        configurations = dict(self.configurations)
        for config_id, planned in new.configurations.items():
            old = configurations.get(config_id, planned)
            configurations[config_id] = replace(old, runs={**old.runs, **planned.runs})
        return Manifest(configurations, swept, self.versions)

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
            StudyError: it was written by a newer version of the project.
        """
        path = _path(study_folder)
        with explained(path):
            try:
                content = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        try:
            document = _document(content)
            planned = {config_id: _planned(entry) for config_id, entry in document["configurations"].items()}
            return cls(planned, tuple(document["swept_keys"]), document["versions"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StorageError(
                f"{str(path)!r} must be a manifest of pima_hp; it is damaged; delete it and run the sweep "
                "again: finished runs are kept"
            ) from error

    def _encoded(self) -> bytes:
        document: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "versions": dict(self.versions),
            "swept_keys": list(self.swept_keys),
            "configurations": {
                config_id: {
                    "label": planned.label,
                    "settings": dict(planned.settings),
                    "runs": {
                        run_id: [getattr(seeds, name) for name in _SEED_FIELDS]
                        for run_id, seeds in planned.runs.items()
                    },
                }
                for config_id, planned in self.configurations.items()
            },
        }
        return json.dumps({**document, "digest": _digest(document)}).encode()

    def _first_settings(self) -> Mapping[str, Setting]:
        """Those of the first configuration: of any that does not vary, the value that all have."""
        return next(iter(self.configurations.values())).settings

    def _varied(self) -> set[str]:
        """The keys that differ between configurations, or that some of them lack."""
        plans = [planned.settings for planned in self.configurations.values()]
        keys = {key for settings in plans for key in settings}
        return {key for key in keys if len({settings.get(key, _ABSENT) for settings in plans}) > 1}


def _document(content: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(content)
    if document["digest"] != _digest(document):
        raise ValueError("it is not what was written")
    if (version := document["schema_version"]) > SCHEMA_VERSION:
        raise StudyError(
            f"the schema version of a manifest must be at most {SCHEMA_VERSION}; written by version "
            f"{version}; update pima_hp to read it"
        )
    return document


def _planned(entry: Mapping[str, Any]) -> PlannedConfiguration:
    runs = {run_id: RunSeeds(**dict(zip(_SEED_FIELDS, seeds, strict=True))) for run_id, seeds in entry["runs"].items()}
    return PlannedConfiguration(entry["label"], flattened(entry["settings"]), runs)


def _covered(key: str, swept: Iterable[str]) -> bool:
    """Whether a key is swept, itself or as part of a group; another table comes with another digest."""
    if key == "data_digest" and any(name == "data" or name.startswith("data.") for name in swept):
        return True
    return any(key == name or key.startswith(f"{name}.") for name in swept)


def _sweep_of(changed: Sequence[tuple[str, str, str]]) -> str:
    """The first change as an override of a multirun; another class means another option of its group."""
    key, old, new = changed[0]
    group = "data" if key == "data_digest" else key.partition(".")[0]
    by_option = {"data_digest", f"{group}._target_"} & {key for key, _, _ in changed}
    return f"{group}=ONE,OTHER" if by_option else f"{key}={old},{new}"


def _digest(document: Mapping[str, Any]) -> str:
    """Of everything but the digest itself, so that damage is noticed."""
    text = json.dumps({key: value for key, value in document.items() if key != "digest"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _shown(value: Setting) -> str:
    """A value as one would type it on the command line."""
    return value if isinstance(value, str) else json.dumps(value)


def _path(study_folder: Path) -> Path:
    return study_folder / "ledger" / "manifest.json"
