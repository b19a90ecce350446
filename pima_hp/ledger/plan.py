"""What was asked of a study, written before its first run: `manifest.json` in its folder."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter

from pima_hp.config import Seeds
from pima_hp.config.flat import NAMED_SECTIONS, Setting
from pima_hp.data.table import check_unchanged
from pima_hp.errors import StorageError, StudyError
from pima_hp.formatting import value_text
from pima_hp.ledger.files import LEDGER, explained, make_folder, write_atomically
from pima_hp.ledger.names import labels_of
from pima_hp.ledger.parts import VERSION, check_version
from pima_hp.run import Run

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Plan:
    """One configuration, and the runs that were asked of it."""

    settings: Mapping[str, Setting]  # `Config.flat`
    runs: dict[str, Seeds]  # run id -> its seeds


@dataclass(frozen=True)
class Manifest:
    """What a study is about.

    Attributes:
        configurations: config_id -> its plan, in the order of the request.
        swept_keys: settings that are meant to differ; `optimizer` covers `optimizer.*`.
        data_files: path as given, in its shortest spelling ("" for the shipped table) -> digest of its content.
        versions: those the study was begun with (each run records its own).
    """

    configurations: Mapping[str, Plan]
    swept_keys: Sequence[str]
    data_files: Mapping[str, str]
    versions: Mapping[str, str]
    schema_version: int = VERSION

    @classmethod
    def of(cls, runs: Sequence[Run], swept: Sequence[str], versions: Mapping[str, str]) -> Self:
        """Return the plan to train these runs.

        Raises:
            StudyError: one data file has two contents.
        """
        configurations: dict[str, Plan] = {}
        files: dict[str, str] = {}
        for config in {id(run.config): run.config for run in runs}.values():
            configurations.setdefault(config.id, Plan(config.flat, {}))
            _add_file(files, file_key(config.data.path), config.data_digest)
        for run in runs:
            configurations[run.config.id].runs[run.id] = run.seeds
        return cls(configurations, tuple(swept), files, versions)

    @property
    def run_ids(self) -> list[str]:
        """All planned runs, in order."""
        return [run_id for plan in self.configurations.values() for run_id in plan.runs]

    @property
    def settings(self) -> dict[str, Mapping[str, Setting]]:
        """config_id -> its settings."""
        return {config_id: plan.settings for config_id, plan in self.configurations.items()}

    @cached_property
    def labels(self) -> dict[str, str]:
        """config_id -> the name that tells it apart from the others, for people and folders."""
        return labels_of(self.settings, self.swept_keys)

    def extended(self, new: Self) -> Self:
        """Return this study and what `new` adds to it: values of what is swept, and seeds.

        Raises:
            StudyError: a setting that neither request sweeps has another value, or a data file has changed.
        """
        files = dict(self.data_files)
        for path, digest in new.data_files.items():
            _add_file(files, path, digest)
        swept = tuple(dict.fromkeys((*self.swept_keys, *new.swept_keys)))
        before, after = (next(iter(manifest.configurations.values())).settings for manifest in (self, new))
        changed = [
            key
            for key in sorted({*before, *after} - self._varied() - new._varied() - {*NAMED_SECTIONS, "data.path"})
            if before.get(key) != after.get(key) and not _covered(key, swept)
        ]
        if changed:
            lines = [f"{_shown_key(key)}: {self._shown(before, key)} -> {new._shown(after, key)}" for key in changed]
            raise StudyError(
                "\n".join(lines) + "\nwhat a study does not sweep must stay as it was; begin another study "
                f"(study=OTHER), or sweep it (-m {_shown_key(changed[0])}=ONE,OTHER)"
            )
        configurations = dict(self.configurations)
        for config_id, plan in new.configurations.items():
            known = configurations.get(config_id, plan)
            configurations[config_id] = replace(known, runs={**known.runs, **plan.runs})
        return replace(self, configurations=configurations, swept_keys=swept, data_files=files)

    def write(self, study: Path) -> None:
        """Store it in the study's folder; an equal manifest is left as it is.

        Raises:
            StorageError: the folder cannot be written.
        """
        make_folder(study / LEDGER)
        write_atomically(study / MANIFEST, self._encoded())

    @classmethod
    def read(cls, study: Path) -> "Manifest | None":
        """Return the manifest of a study; None where none was written.

        Raises:
            StorageError: it is damaged or unreadable.
            StudyError: it was written by another version of the project.
        """
        path = study / MANIFEST
        if (study / LEDGER / MANIFEST).exists():  # its place in earlier versions
            check_version(0, study)
        with explained(path):
            try:
                content = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        try:
            document = json.loads(content)["manifest"]
            check_version(int(document["schema_version"]), study)
            manifest = _ADAPTER.validate_python(document)
            if manifest._encoded() == content:
                return manifest
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise StorageError(
            f"{str(path)!r} must be a manifest of pima_hp; it is damaged; delete it and run the sweep "
            "again: finished runs are kept"
        )

    def _encoded(self) -> bytes:
        body = _ADAPTER.dump_json(self)
        return b'{"digest": "%s", "manifest": %s}\n' % (hashlib.sha256(body).hexdigest().encode(), body)

    def _varied(self) -> set[str]:
        """Return the keys that differ between configurations, or that some of them lack."""
        texts: dict[str, set[str]] = {}
        for key in {key for settings in self.settings.values() for key in settings}:
            texts[key] = {value_text(settings.get(key)) for settings in self.settings.values()}
        return {key for key, found in texts.items() if len(found) > 1}

    def _shown(self, settings: Mapping[str, Setting], key: str) -> str:
        """Return the text of a setting; a data file by its path and digest."""
        if key != "data_digest":
            return value_text(settings.get(key))
        digest = str(settings[key])
        path = next((path for path, known in self.data_files.items() if known == digest), "")
        return f"{repr(path) if path else 'the shipped table'} (digest {digest[:12]})"


_ADAPTER = TypeAdapter(Manifest)


def file_key(path: str | None) -> str:
    """Return a data file's path in its shortest spelling: `./my.csv` is `my.csv`; None, the shipped table, is empty."""
    return "" if path is None else os.path.normpath(path)


def _add_file(files: dict[str, str], path: str, digest: str) -> None:
    check_unchanged(path or None, files.setdefault(path, digest), digest)


def _shown_key(key: str) -> str:
    return "data.path" if key == "data_digest" else key


def _covered(key: str, swept: Sequence[str]) -> bool:
    """Whether a key is swept, itself or as part of a group; a digest belongs to its path."""
    return any(_shown_key(key) == name or _shown_key(key).startswith(f"{name}.") for name in swept)
