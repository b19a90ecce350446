"""The command `pima-hp-report`: from the ledger of a study to its report, verdicts and an exit code."""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from pima_hp.analysis.claims import load_claims
from pima_hp.analysis.selection import plain
from pima_hp.analysis.verdicts import Word, finite
from pima_hp.configuration import DataSection
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import ConfigurationError, InputError, PimaError
from pima_hp.ledger.atomic import write_atomically
from pima_hp.report.build import write_report
from pima_hp.report.results import FLOORS, Results, read_floors
from pima_hp.report.rows import TERMINAL, counted, side_by_side, verdict_table
from pima_hp.report.text import text_table, write_csv

MOST_SPLITS = 100
MOST_KINDS_OF_SPLIT = 8


def report_study(folder: Path, claims_folder: Path | None = None, *, own_table: bool = False) -> Results:
    """Write the report of a study and print its verdicts.

    Args:
        folder: `outputs/<study>`.
        claims_folder: a reader's own claims, beside those of the project.
        own_table: whether the path of a CSV file in the ledger may be opened, for the floors: where this
            command has trained from it, not where the study may be a stranger's.
    """
    claims = load_claims(extra=claims_folder)
    results = Results.read(folder, claims, before=partial(keep_floors, own_table=own_table))
    page = write_report(results)
    table = verdict_table(results)[[verdict.word != Word.UNTESTABLE for verdict in results.verdicts]]
    if len(table):
        _say(text_table(table, fixed=TERMINAL) + "\n")
    _say(f"{results.progress}. {counted(results.verdicts).capitalize()}.")
    _say(f"report       {page}")
    return results


def keep_floors(folder: Path, frame: pd.DataFrame, *, own_table: bool = False) -> None:
    """Compute the floors in the splits of a study and keep them in `floors.json`, unless they are there.

    The splits are drawn by torch's generator, so this is the one part of a report that loads torch, once.
    """
    digests = set(frame.get("data_digest", ()))
    if len(digests) != 1:
        return
    digest = str(digests.pop())
    keys = [key for key in ("data.test_fraction", "data.val_fraction", "data.stratified") if key in frame.columns]
    kinds = [
        (dict(zip(keys, values, strict=True)), sorted(set(map(int, runs["split_seed"])))[:MOST_SPLITS], runs.iloc[0])
        for values, runs in list(frame.groupby(keys, sort=True))[:MOST_KINDS_OF_SPLIT]
    ]
    key = [digest, *([sorted(map(str, kind.items())), seeds] for kind, seeds, _ in kinds)]
    if read_floors(folder).get("key") == key or not (own_table or digest == SHIPPED_SHA256):
        return
    import torch

    from pima_hp.analysis.floors import floors
    from pima_hp.data.splits import split_rows
    from pima_hp.data.table import read_table
    from pima_hp.seeds import Role, stream

    rows: list[dict[str, Any]] = []
    for _, seeds, run in kinds:
        named = {name.removeprefix("data."): plain(run[name]) for name in frame.columns if name.startswith("data.")}
        try:
            data = DataSection.model_validate(finite(named if own_table else named | {"path": None}))
            table = read_table(data)
        except (InputError, ValidationError):
            return
        if table.digest != digest:
            return
        labels = torch.from_numpy(table.labels).double()
        splits = [split_rows(labels, data, stream(seed, Role.SPLIT)) for seed in seeds]
        pairs = [(split.train.numpy(), split.test.numpy()) for split in splits]
        train = 1 - data.test_fraction - data.val_fraction
        text = f"{100 * train:.3g} % train, {100 * data.test_fraction:.3g} % test"
        found = floors(table.features, table.labels, table.feature_names, pairs)
        rows += [{"splits": text, **vars(floor)} for floor in found]
    facts = {"n_rows": len(table.labels), "positive_rate": float(table.labels.mean())}
    write_atomically(folder / FLOORS, json.dumps(finite({"key": key, **facts, "floors": rows}), indent=1).encode())


def run(arguments: Sequence[str]) -> int:
    """Run the command with these arguments and return its exit code."""
    parser = argparse.ArgumentParser(prog="pima-hp-report", description=__doc__, allow_abbrev=False)
    parser.add_argument("study", help="folder of a study, or its name in outputs/")
    parser.add_argument("--compare", metavar="STUDY", help="the same claims in another study, with differences")
    parser.add_argument("--claims", metavar="DIR", type=Path, help="a folder of your own claims, <id>.yaml")
    parser.add_argument("--fail-on", metavar="WORDS", default="", help="exit 1 on such verdicts: refuted,undecided")
    asked = parser.parse_args(arguments)
    words = [word.strip() for word in asked.fail_on.split(",") if word.strip()]
    try:
        if unknown := sorted(set(words) - set(Word)):
            found = ", ".join(map(repr, unknown))
            raise ConfigurationError(f"--fail-on: must be of {', '.join(Word)}; found {found}")
        results = report_study(_folder(asked.study), asked.claims)
        if asked.compare:
            other = Results.read(_folder(asked.compare), [verdict.claim for verdict in results.verdicts])
            table = side_by_side(results, other)
            _say("\n" + (text_table(table) if len(table) else "No claim can be tested in both studies."))
            write_csv(table, results.folder / "report" / "tables" / "compared.csv")
    except PimaError as error:
        sys.stderr.write("".join(f"refused: {line}\n" for line in str(error).splitlines()))
        return error.exit_code
    return 1 if any(verdict.word in words for verdict in results.verdicts) else 0


def main() -> None:
    """Run the command; exit codes as in `pima_hp.errors`, 1 for a verdict that `--fail-on` names."""
    sys.exit(run(sys.argv[1:]))


def _folder(study: str) -> Path:
    return Path(study) if Path(study).is_dir() or "/" in study else Path("outputs") / study


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
