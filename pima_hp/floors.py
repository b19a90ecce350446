"""Compute what simple rules reach in the splits of a study, once, and keep it beside the runs."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from pima_hp.analysis.floors import Splits, floor_scores
from pima_hp.analysis.selection import plain
from pima_hp.analysis.verdicts import finite
from pima_hp.config import DataSection
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import InputError
from pima_hp.ledger.files import write_atomically
from pima_hp.report.results import FLOORS, read_floors

MOST_SPLITS = 100
MOST_KINDS_OF_SPLIT = 8
KIND = ("data.test_fraction", "data.val_fraction", "data.stratified")


def keep_floors(folder: Path, frame: pd.DataFrame, *, own_table: bool = False) -> list[Splits]:
    """Return the floors of a study; compute them and write `floors.json` unless they are there.

    The splits are drawn by torch's generator, so this is the one part of a report that loads torch, once.

    Args:
        folder: of the study.
        frame: its runs.
        own_table: whether the path of a CSV file in the ledger may be opened: where this command has trained
            from it, not where the study may be a stranger's.
    """
    kept = read_floors(folder)
    digests = set(frame.get("data_digest", ()))
    if len(digests) != 1:
        return kept
    digest = str(digests.pop())
    keys = [key for key in KIND if key in frame.columns]
    groups = list(frame.groupby(keys, sort=True))[:MOST_KINDS_OF_SPLIT]
    seeds = [sorted(set(map(int, runs["split_seed"])))[:MOST_SPLITS] for _, runs in groups]
    wanted = [
        ({key: plain(runs[key].iloc[0]) for key in keys}, of) for (_, runs), of in zip(groups, seeds, strict=True)
    ]
    known = [(dict(kind.settings), list(kind.seeds)) for kind in kept]
    if known == wanted or not (own_table or digest == SHIPPED_SHA256):
        return kept
    kinds = []
    for (settings, of), (_, runs) in zip(wanted, groups, strict=True):
        if (kind := _computed(settings, of, runs.iloc[0], own_table=own_table)) is None:
            return kept
        kinds.append(kind)
    write_atomically(folder / FLOORS, json.dumps(finite([asdict(kind) for kind in kinds]), indent=1).encode())
    return kinds


def _computed(settings: Mapping[str, object], seeds: list[int], run: pd.Series, *, own_table: bool) -> Splits | None:
    """The floors of one kind of split; None where the table is not to be had or has changed."""
    import torch

    from pima_hp.data.splits import split_rows
    from pima_hp.data.table import read_table
    from pima_hp.seeds import Role, stream

    named = {str(name).removeprefix("data."): plain(run[name]) for name in run.index if str(name).startswith("data.")}
    try:
        data = DataSection.model_validate(finite(named if own_table else named | {"path": None}))
        table = read_table(data)
    except (InputError, ValidationError):
        return None
    if table.digest != run["data_digest"]:
        return None
    labels = torch.tensor(table.labels).double()
    splits = [split_rows(labels, data, stream(seed, Role.SPLIT)) for seed in seeds]
    pairs = [(split["train"].numpy(), split["test"].numpy()) for split in splits]
    scores = floor_scores(table.features, table.labels, table.feature_names, pairs)
    return Splits(settings, seeds, len(pairs[0][0]), len(pairs[0][1]), scores)
