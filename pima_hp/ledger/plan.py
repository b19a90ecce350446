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
from typing import Any, Self

from pydantic import TypeAdapter

from pima_hp.config.options import NAMED_SECTIONS, Setting
from pima_hp.data.table import check_unchanged
from pima_hp.errors import StorageError, StudyError
from pima_hp.formatting import value_text
from pima_hp.ledger.files import explained, read_file, write_atomically
from pima_hp.ledger.parts import VERSION, check_version
from pima_hp.run import Run

MANIFEST = "manifest.json"

# The settings that describe a configuration where there is no other to compare it with.
MAIN_SETTINGS = ("activation", "optimizer", "scheduler", "optimizer.lr", "batch.size")

# Characters of a configuration's name.
LONGEST = 100

# Digits of a run's id in the name of its folder: enough to tell the runs of any study apart.
ID_DIGITS = 12


@dataclass(frozen=True)
class Manifest:
    """The configurations and runs that were requested of a study.

    Attributes:
        settings: config_id -> `Config.flat`, in the order of the request.
        run_ids: all planned runs, in order.
        swept_keys: settings that the requests sweep; `optimizer` covers `optimizer.*`.
        data_files: path as given, in its shortest spelling ("" for the shipped table) -> digest of its content.
    """

    settings: Mapping[str, Mapping[str, Setting]]
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
    def hparams(self) -> dict[str, dict[str, float | str]]:
        """config_id -> the settings that distinguish it, swept ones first; if it is alone, the main ones.

        Settings with numbers alone are numbers, others are text. The shipped table is `pima`.
        """
        rows: list[dict[str, Any]] = [dict(own) for own in self.settings.values()]
        for own in rows:
            own["data.path"] = PurePath(str(own.get("data.path") or "pima")).stem
        keys = dict.fromkeys(key for own in rows for key in own if key != "data_digest")
        in_order = [key for key in (*self.swept_keys, *keys) if key in keys]
        texts = {key: [value_text(own.get(key)) for own in rows] for key in in_order}
        shown = varying(texts) if len(rows) > 1 else [key for key in MAIN_SETTINGS if key in keys]
        hparams: dict[str, dict[str, float | str]] = {config_id: {} for config_id in self.settings}
        for key in shown:
            values = [own.get(key) for own in rows]
            is_number = {*map(type, values)} <= {int, float, type(None)}
            for named, value, text in zip(hparams.values(), values, texts[key], strict=True):
                if value is not None:
                    named[key] = value if is_number else text
        return hparams

    @cached_property
    def labels(self) -> dict[str, str]:
        """config_id -> its name in the study, safe as the name of its folder in TensorBoard: `relu, sgd, lr 0.01`.

        A name joins the values of `hparams`; the beginning of the id is added to equal names.
        """
        labels, is_alone = {}, len(self.settings) == 1
        for config_id, own in self.hparams.items():
            text = ", ".join(_part(key, value) for key, value in own.items() if not (is_alone and value == "none"))
            safe = re.sub(r"[^\w .,=+()~-]", "_", text, flags=re.ASCII).lstrip(". ")  # for any file system
            labels[config_id] = safe[:LONGEST].rstrip(",. ") or "baseline"
        counts = Counter(map(str.casefold, labels.values()))  # some file systems ignore case
        return {
            config_id: label if counts[label.casefold()] == 1 else f"{label[: LONGEST - 8]} ~{config_id[:6]}"
            for config_id, label in labels.items()
        }

    def extended(self, new: Self) -> Self:
        """Return this plan with the configurations and runs of `new` added.

        Raises:
            StudyError: a setting that neither request sweeps has another value, or a data file has changed.
        """
        files = _merged(self.data_files, new.data_files.items())
        swept = list(dict.fromkeys((*self.swept_keys, *new.swept_keys)))
        keys = {key for manifest in (self, new) for own in manifest.settings.values() for key in own}
        changed = []
        for key in sorted(keys - {*NAMED_SECTIONS, "data.path"}):
            old, now = ({value_text(own.get(key)) for own in plan.settings.values()} for plan in (self, new))
            name = key.replace("data_digest", "data.path")  # a digest belongs to its path
            is_swept = f"{name}.".startswith(tuple(f"{swept_key}." for swept_key in swept))
            if old != now and len(old) == len(now) == 1 and not is_swept:
                changed.append(f"{key}: {old.pop()} -> {now.pop()}")
        if changed:
            raise StudyError(
                "\n".join(changed)
                + "\nsettings that a study does not sweep must not change; start another study (study=OTHER), "
                "or sweep them (-m KEY=ONE,OTHER)"
            )
        run_ids = list(dict.fromkeys((*self.run_ids, *new.run_ids)))
        settings = {**self.settings, **new.settings, **self.settings}
        return replace(self, settings=settings, run_ids=run_ids, swept_keys=swept, data_files=files)

    def write(self, study: Path) -> None:
        """Store it in the study's folder; an equal manifest is left as it is.

        Raises:
            StorageError: the folder cannot be written.
        """
        write_atomically(study / MANIFEST, self._encoded())

    @classmethod
    def read(cls, study: Path) -> "Manifest | None":
        """Return the manifest of a study; None where none was written.

        Raises:
            StorageError: it is damaged or unreadable.
            StudyError: it was written by another version of the project.
        """
        path = study / MANIFEST
        if not os.path.lexists(path):
            return None
        with explained(path):
            content = read_file(path)
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


_ADAPTER = TypeAdapter(Manifest)


def file_key(path: str | None) -> str:
    """Return a data file's path in its shortest spelling: `./my.csv` is `my.csv`; None, the shipped table, is empty."""
    return "" if path is None else os.path.normpath(path)


def _merged(known: Mapping[str, str], new: Iterable[tuple[str, str]]) -> dict[str, str]:
    files = dict(known)
    for path, digest in new:
        check_unchanged(path or None, files.setdefault(path, digest), digest)
    return files


def _part(key: str, value: float | str) -> str:
    """Return a setting as a part of a name: `relu` of a group with names, `lr 0.01` of a key, a class by its name."""
    section, _, leaf = key.rpartition(".")
    text = value_text(value).strip("[]").replace(", ", "-")
    if not section:
        return f"no {key}" if text == "none" else text
    return text.rpartition(".")[2] if leaf == "_target_" else f"{section if leaf == 'size' else leaf} {text}"


def run_name(label: str, seed: int, run_id: str) -> str:
    """Return the name of a run's own folder: `relu, sgd, seed 3, ab12cd34ef56`."""
    return f"{label}, seed {seed}, {run_id[:ID_DIGITS]}"


def run_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of single runs by the digits of their ids."""
    return {path.name.rpartition(", ")[2]: path for path in folder.glob("*, seed *")}


def varying(columns: Mapping[str, Sequence[Setting]]) -> list[str]:
    """Return the settings that differ between configurations, without those that others determine.

    The option, the class or the file that a setting belongs to may determine it: `optimizer` gives `optimizer.betas`,
    unless these differ between two configurations of one optimizer.

    Args:
        columns: setting -> its value in each configuration.
    """
    found = {key: values for key, values in columns.items() if len(set(values)) > 1}
    kept = []
    for key, values in found.items():
        section = key.rpartition(".")[0]
        owners = {section, f"{section}._target_", f"{section}.path"} & found.keys() - {key}
        if not any(follows(values, found[owner]) for owner in owners):
            kept.append(key)
    return kept


def follows(values: Iterable[Setting], owner: Sequence[Setting]) -> bool:
    """Return whether a setting has one value for each value of its owner, and so carries no information of its own."""
    return len(set(zip(values, owner, strict=True))) == len(set(owner))
