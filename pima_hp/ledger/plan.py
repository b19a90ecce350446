"""The plan of a study (`manifest.json` in its folder), and the names of its configurations."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Self

from pydantic import TypeAdapter

from pima_hp.config.options import NAMED_SECTIONS, Setting
from pima_hp.data.table import check_unchanged
from pima_hp.errors import StorageError, StudyError
from pima_hp.formatting import value_text
from pima_hp.ledger.files import LEDGER, explained, make_folder, read_file, write_atomically
from pima_hp.ledger.parts import VERSION, check_version
from pima_hp.run import Run

Value = float | str
Settings = Mapping[str, Mapping[str, Setting]]
"""Configuration id -> its settings, `Config.flat`."""

MAIN_SETTINGS = ("activation", "optimizer", "scheduler", "optimizer.lr", "batch.size")
"""The settings that describe a configuration where there is no other to compare it with."""

LONGEST = 100

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """The configurations and runs that were requested of a study.

    Attributes:
        settings: config_id -> `Config.flat`, in the order of the request.
        run_ids: all planned runs, in order.
        swept_keys: settings that the requests sweep; `optimizer` covers `optimizer.*`.
        data_files: path as given, in its shortest spelling ("" for the shipped table) -> digest of its content.
    """

    settings: Settings
    run_ids: Sequence[str]
    swept_keys: Sequence[str]
    data_files: Mapping[str, str]
    schema_version: int = VERSION

    @classmethod
    def of(cls, runs: Sequence[Run], swept: Sequence[str] = ()) -> Self:
        """Return the plan to train these runs.

        Raises:
            StudyError: one data file has two contents.
        """
        configs = {id(run.config): run.config for run in runs}.values()
        settings = {config.id: config.flat for config in configs}
        files = _merged({}, [(file_key(config.data.path), config.data_digest) for config in configs])
        return cls(settings, list(dict.fromkeys(run.id for run in runs)), list(swept), files)

    @cached_property
    def labels(self) -> dict[str, str]:
        """config_id -> its name in the study, also the name of its folder in TensorBoard."""
        return labels_of(self.settings, self.swept_keys)

    def extended(self, new: Self) -> Self:
        """Return this plan with the configurations and runs of `new` added.

        Raises:
            StudyError: a setting that neither request sweeps has another value, or a data file has changed.
        """
        files = _merged(self.data_files, new.data_files.items())
        swept = list(dict.fromkeys((*self.swept_keys, *new.swept_keys)))
        before, after = (next(iter(manifest.settings.values())) for manifest in (self, new))
        fixed = {*before, *after} - self._varied() - new._varied() - {*NAMED_SECTIONS, "data.path"}
        changed = [key for key in sorted(fixed) if before.get(key) != after.get(key) and not _covered(key, swept)]
        if changed:
            lines = [f"{key}: {value_text(before.get(key))} -> {value_text(after.get(key))}" for key in changed]
            raise StudyError(
                "\n".join(lines)
                + "\nsettings that a study does not sweep must not change; start another study (study=OTHER), "
                f"or sweep it (-m {changed[0].replace('data_digest', 'data.path')}=ONE,OTHER)"
            )
        run_ids = list(dict.fromkeys((*self.run_ids, *new.run_ids)))
        settings = {**self.settings, **new.settings, **self.settings}
        return replace(self, settings=settings, run_ids=run_ids, swept_keys=swept, data_files=files)

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
                content = read_file(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
        with suppress(ValueError, LookupError, TypeError, RecursionError):
            document = json.loads(content)["manifest"]
            check_version(int(document["schema_version"]), study)
            manifest = _ADAPTER.validate_python(document)
            if manifest._encoded() == content:  # with the digest
                return manifest
        raise StorageError(f"{str(path)!r} is damaged; delete it and run the sweep again: finished runs are kept")

    def _encoded(self) -> bytes:
        body = _ADAPTER.dump_json(self)
        return b'{"digest": "%s", "manifest": %s}\n' % (hashlib.sha256(body).hexdigest().encode(), body)

    def _varied(self) -> set[str]:
        """Return the keys whose values differ between configurations."""
        rows = self.settings.values()
        keys = {key for row in rows for key in row}
        return {key for key in keys if len({value_text(row.get(key)) for row in rows}) > 1}


_ADAPTER = TypeAdapter(Manifest)


def file_key(path: str | None) -> str:
    """Return a data file's path in its shortest spelling: `./my.csv` is `my.csv`; None, the shipped table, is empty."""
    return "" if path is None else os.path.normpath(path)


def _merged(known: Mapping[str, str], new: Iterable[tuple[str, str]]) -> dict[str, str]:
    files = dict(known)
    for path, digest in new:
        check_unchanged(path or None, files.setdefault(path, digest), digest)
    return files


def _covered(key: str, swept: Sequence[str]) -> bool:
    """Whether a key is swept, itself or as part of a group; a digest belongs to its path."""
    key = key.replace("data_digest", "data.path")
    return any(key == name or key.startswith(f"{name}.") for name in swept)


def labels_of(settings: Settings, swept: Sequence[str] = ()) -> dict[str, str]:
    """Return configuration id -> its name in the study, safe as the name of a folder: `relu, sgd, lr 0.01`.

    A name joins the values of `distinguishing`; the beginning of the id is added to equal names.

    Args:
        settings: of every configuration of the study.
        swept: keys in the order in which their values lead.
    """
    labels = {}
    for config_id, own in distinguishing(settings, swept).items():
        text = ", ".join(_part(key, value) for key, value in own.items() if len(settings) > 1 or value != "none")
        safe = re.sub(r"[^\w .,=+()~-]", "_", text, flags=re.ASCII).lstrip(". ")  # for any file system
        labels[config_id] = safe[:LONGEST].rstrip(",. ") or "baseline"
    counts = Counter(map(str.casefold, labels.values()))  # some file systems ignore case
    return {
        config_id: label if counts[label.casefold()] == 1 else f"{label[: LONGEST - 8]} ~{config_id[:6]}"
        for config_id, label in labels.items()
    }


ID_DIGITS = 12
"""Digits of a run's id in the name of its folder: enough to tell the runs of any study apart."""


def run_name(label: str, seed: int, run_id: str) -> str:
    """Return the name of a run's own folder: `relu, sgd, seed 3, ab12cd34ef56`."""
    return f"{label}, seed {seed}, {run_id[:ID_DIGITS]}"


def distinguishing(settings: Settings, swept: Sequence[str] = ()) -> dict[str, dict[str, Value]]:
    """Return configuration id -> the settings that differ between the configurations, or the main ones of a single one.

    A setting is left out where the option, the class or the file that it belongs to determines it: `optimizer` gives
    `optimizer.alpha`, unless it differs between two configurations of one optimizer.
    """
    keys = dict.fromkeys(key for own in settings.values() for key in own if key != "data_digest")
    columns = {key: [_plain(key, own.get(key)) for own in settings.values()] for key in (*swept, *keys) if key in keys}
    varied = [key for key, column in columns.items() if len(set(column)) > 1]
    shown = [key for key in MAIN_SETTINGS if key in columns] if len(settings) == 1 else []
    for key in varied:
        section = key.rpartition(".")[0]
        owners = {section, f"{section}._target_", f"{section}.path"} & {*varied} - {key}
        pairs = [(columns[owner], set(zip(columns[owner], columns[key], strict=True))) for owner in owners]
        if all(len(found) > len(set(owner)) for owner, found in pairs):
            shown.append(key)
    for key in shown:
        if len({type(value) for value in columns[key] if value is not None}) > 1:  # batch.size=16,full
            columns[key] = [value if value is None else _text(value) for value in columns[key]]
    return {
        config_id: {key: value for key in shown if (value := columns[key][row]) is not None}
        for row, config_id in enumerate(settings)
    }


def _plain(key: str, value: Setting) -> Value | None:
    """Return a setting as a word or a number; a data file by its name."""
    if key == "data.path":
        return "pima" if value is None else PurePath(str(value)).stem
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    return float(value) if isinstance(value, int) else value


def _text(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else value


def _part(key: str, value: Value) -> str:
    """Return a setting as a part of a name: `relu` of a group with names, `lr 0.01` of a key, a class by its name."""
    section, _, leaf = key.rpartition(".")
    if not section:
        return f"no {key}" if value == "none" else _text(value)
    name = section if leaf == "size" else leaf
    return _text(value).rpartition(".")[2] if leaf == "_target_" else f"{name} {_text(value)}"
