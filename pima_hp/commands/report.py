"""The command `pima-hp-report`: from the ledger of a study to its report, verdicts and an exit code."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pima_hp.analysis.baselines import keep_baselines
from pima_hp.analysis.claims import Claim, load_claims
from pima_hp.analysis.decisions import Outcome
from pima_hp.errors import ConfigurationError, PimaError
from pima_hp.report.build import write_report
from pima_hp.report.compared import shown_side_by_side, side_by_side
from pima_hp.report.results import Results
from pima_hp.report.rows import TERMINAL, counted, verdict_table
from pima_hp.report.text import text_table, write_csv


def report_study(folder: Path, claims_folder: Path | None = None, *, own_table: bool = False) -> Results:
    """Write the report of a study and print its verdicts.

    Args:
        folder: `outputs/<study>`.
        claims_folder: a reader's own claims, beside those of the project.
        own_table: whether the path of a CSV file in the ledger may be opened, for the baselines: where this
            command has trained from it, not where the study may be a stranger's.
    """
    results = _read(folder, load_claims(extra=claims_folder), own_table=own_table)
    page = write_report(results)
    table = verdict_table(results)[[verdict.outcome != Outcome.UNTESTABLE for verdict in results.verdicts]]
    if len(table):
        _say(text_table(table, fixed=TERMINAL) + "\n")
    _say(f"{results.progress}. {counted(results.verdicts).capitalize()}.")
    if results.copies:
        _say(f"note: {results.copies}")
    tables = set(results.frame.get("data_digest", ()))
    if n_others := sum(bool(verdict.claim.other_table(tables)) for verdict in results.verdicts):
        _say(f"note: {n_others} of {len(results.verdicts)} claims are about another table than these runs")
    _say(f"report       {page}")
    return results


def _read(folder: Path, claims: Sequence[Claim], *, own_table: bool = False) -> Results:
    """Read and judge a study, with the baselines in its splits."""
    results = Results.read(folder, claims)
    return replace(results, baselines=keep_baselines(folder, results.frame, own_table=own_table))


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
        if unknown := sorted(set(words) - set(Outcome)):
            found = ", ".join(map(repr, unknown))
            raise ConfigurationError(f"--fail-on: must be of {', '.join(Outcome)}; found {found}")
        results = report_study(_folder(asked.study), asked.claims)
        if asked.compare:
            other = _read(_folder(asked.compare), [verdict.claim for verdict in results.verdicts])
            table = side_by_side(results, other)
            shown = shown_side_by_side(table, results.name, other.name)
            _say("\n" + (text_table(shown) if len(shown) else "No claim can be tested in both studies."))
            write_csv(table, results.folder / "report" / "tables" / "compared.csv")
    except PimaError as error:
        sys.stderr.write("".join(f"refused: {line}\n" for line in str(error).splitlines()))
        return error.exit_code
    return 1 if any(verdict.outcome in words for verdict in results.verdicts) else 0


def main() -> None:
    """Run the command; exit codes as in `pima_hp.errors`, 1 for a verdict that `--fail-on` names."""
    sys.exit(run(sys.argv[1:]))


def _folder(study: str) -> Path:
    return Path(study) if Path(study).is_dir() or "/" in study else Path("outputs") / study


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
