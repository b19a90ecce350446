"""The command `pima-hp-report`: from the ledger of a study to its report, verdicts and an exit code."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pima_hp.analysis.claims import Outcome
from pima_hp.analysis.selection import copies_in_words
from pima_hp.analysis.verdicts import Verdict
from pima_hp.commands.exits import answer, say_error
from pima_hp.errors import ConfigurationError, PimaError
from pima_hp.formatting import csv_text
from pima_hp.report.page import write, write_report
from pima_hp.report.study import Study
from pima_hp.report.tables import SHOWN, counts_text, side_by_side, text_table, verdict_table


def report_study(study: Study, claims: Path | str | None = None) -> list[Verdict]:
    """Write the report of a study, print its verdicts, and return them; `claims` is a folder of the user's own."""
    verdicts = study.verdicts(claims)
    page, table = write_report(study, verdicts), verdict_table(verdicts)
    lines = [f"{text_table(table)}\n"] if len(table) else []
    lines.append(f"{study.progress}. {counts_text(verdicts).capitalize()}.")
    n_others = sum(not any(map(verdict.claim.is_about, study.digests)) for verdict in verdicts)
    if n_others and study.digests:
        lines.append(f"note: {n_others} of {len(verdicts)} claims are about another table than these runs")
    if copies := copies_in_words(study.frame):
        lines.append(f"note: {copies}")
    answer("\n".join([*lines, f"report       {page}"]))
    return verdicts


def run(arguments: Sequence[str]) -> int:
    """Run the command with these arguments and return its exit code."""
    parser = argparse.ArgumentParser(prog="pima-hp-report", description=__doc__, allow_abbrev=False)
    parser.add_argument("study", help="folder of a study, or its name in outputs/")
    parser.add_argument("--compare", metavar="STUDY", help="the same claims in another study, with differences")
    parser.add_argument("--claims", metavar="DIR", help="a folder of your own claims, <id>.yaml")
    parser.add_argument("--fail-on", metavar="OUTCOMES", default="", help="exit 1 on such verdicts: refuted,undecided")
    options = parser.parse_args(arguments)
    outcomes = {outcome.strip() for outcome in options.fail_on.split(",") if outcome.strip()}
    try:
        if outcomes - set(Outcome):
            raise ConfigurationError(f"--fail-on: must be of {', '.join(Outcome)}; found {options.fail_on!r:.60}")
        study = Study.read(options.study)
        verdicts = report_study(study, options.claims)
        if options.compare:
            table = side_by_side(verdicts, Study.read(options.compare).verdicts(options.claims))
            answer("\n" + (text_table(table[SHOWN]) if len(table) else "No claim can be tested in both studies."))
            write(study.folder / "report" / "tables" / "compared.csv", csv_text(table))
    except PimaError as error:
        return say_error(error)
    except KeyboardInterrupt:
        return 130
    return 1 if any(verdict.outcome in outcomes for verdict in verdicts) else 0


def main() -> None:
    """Run the command; exit codes as in `pima_hp.errors`, 1 for a verdict that `--fail-on` names."""
    sys.exit(run(sys.argv[1:]))
