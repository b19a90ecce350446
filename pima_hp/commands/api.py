"""The public functions: what the commands do, from Python. Overrides are Hydra's strings everywhere."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from pima_hp.analysis.claims import load_claims
from pima_hp.analysis.verdicts import Verdict
from pima_hp.commands import study as studies
from pima_hp.commands.compose import swept_keys
from pima_hp.commands.exits import running_command
from pima_hp.commands.files import composed
from pima_hp.commands.hydra_callback import checked
from pima_hp.commands.report import report_study, study_folder
from pima_hp.commands.train import train as task
from pima_hp.config.options import CONF
from pima_hp.errors import InputError
from pima_hp.formatting import plain
from pima_hp.ledger import Ledger, read_study, setting_columns
from pima_hp.report import page
from pima_hp.run import Array


@dataclass(frozen=True)
class TrainedRun:
    """A run that was trained just now.

    Attributes:
        run_id: digest of its configuration and seeds.
        status: how it ended.
        curves: `val/accuracy`, ... -> (E,).
        scores: `val/auroc`, ... of the last weights.
        module: the LightningModule with the last weights; `module.trainer` is its Trainer.
    """

    run_id: str
    status: str
    curves: dict[str, Array]
    scores: dict[str, float]
    module: Any


@dataclass(frozen=True)
class Study:
    """A study on disk: its runs, learning curves, verdicts and report."""

    folder: Path

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All runs, one row each: see `pima_hp.read_study`."""
        return read_study(self.folder)

    def curves(self, key: str = "val/accuracy") -> pd.DataFrame:
        """Return a learning curve of each run: one row a run, one column an epoch (from 1)."""
        table = pd.DataFrame(self.frame[key].tolist(), index=self.frame["run_id"])
        return table.rename(columns=lambda epoch: epoch + 1)

    def best(self, key: str = "val/accuracy") -> dict[str, Any]:
        """Return the settings of the configuration with the best score: mean of its runs over the last 20 epochs.

        Of a loss, the lowest is the best. A configuration with a run that has no such score is never the best.
        """
        frame = self.frame.assign(score=self.curves(key).iloc[:, -20:].mean(axis=1, skipna=False).to_numpy())
        kept = frame[~frame["config_id"].isin(frame["config_id"][frame["score"].isna()])]
        if kept.empty:
            raise InputError(f"best: needs a configuration whose runs all have {key}; found none")
        means = kept.groupby("config_id", sort=False)["score"].mean().sort_values(ascending="loss" in key)
        settings = kept[kept["config_id"] == means.index[0]][setting_columns(frame)].iloc[0].dropna()
        return {name: plain(value) for name, value in {**settings, key: means.iloc[0]}.items()}

    def verdicts(self, claims: Path | str | None = None) -> Sequence[Verdict]:
        """Return the verdict of each claim of the project, and of a folder of your own claims."""
        return page.Study.read(self.folder, load_claims(extra=Path(claims) if claims else None)).verdicts

    def report(self, claims: Path | str | None = None) -> Path:
        """Write the report, print its verdicts, and return the page."""
        report_study(self.folder, Path(claims) if claims else None)
        return self.folder / "report" / "index.html"


def train(*overrides: str) -> TrainedRun:
    """Train one run by Lightning: `train("optimizer=adam", "batch=b32")`.

    It is recorded where `study=NAME` is among the overrides, unless its ledger has it already.
    """
    recorded = any(line.startswith("study=") for line in overrides)
    from pima_hp.commands.solo import train_solo

    with running_command():
        config = composed(overrides if recorded else [*overrides, "study=unrecorded"])
        config.debug = config.debug or not recorded
        (job,) = checked([config], together=False)
        if len(job.runs) > 1:
            raise InputError(f"n_replicates: must be 1; found {len(job.runs)}; pima_hp.sweep trains several runs")
        run = job.runs[0]
        if not job.is_recorded:
            results, module = train_solo(job, run, run.id)
        else:
            with studies.held(job.folder):
                manifest = studies.planned([job], swept_keys([overrides]))
                studies.remove_attempts(job.folder, [run])  # this training logs and saves anew
                results, module = train_solo(job, run, studies.name_of(run, manifest))
                if studies.missing(job.folder, [run]):
                    Ledger(job.folder).append(results)
                studies.publish(job, [run])
    curves = {key: curve[0] for key, curve in results.curves.items()}
    scores = {key: float(score[0]) for key, score in results.scores.items()}
    return TrainedRun(run.id, results.status[0], curves, scores, module)


def sweep(*overrides: str, **settings: object) -> Study:
    """Run a sweep as `pima-hp-train -m` does, and return its study: `sweep("experiment=article", n_replicates=100)`."""
    quiet = ["hydra/job_logging=none", "hydra.job_logging.root=null"]  # logging is the caller's
    quiet += ["hydra/hydra_logging=none", "hydra.hydra_logging.root=null"]
    lines = [*overrides, *(f"{key}={value}" for key, value in settings.items()), "hydra.mode=MULTIRUN", *quiet]
    with running_command() as command, initialize_config_dir(str(CONF), job_name="pima_hp", version_base="1.3"):
        with suppress(SystemExit):  # some runs failed: their status says so
            GlobalHydra.instance().hydra.multirun("config", task, lines)  # type: ignore[union-attr]
        return Study(command.study or Path())


def predict(study: str | Path, run_id: str, rows: pd.DataFrame) -> Array:
    """Return the probability of a positive label for each raw row, from the checkpoint of a run of a study.

    Raises:
        InputError: `run_id` does not begin the id of one run with a checkpoint; runs that Lightning trains have one.
    """
    from pima_hp.commands.solo import checkpoint_of
    from pima_hp.model import MLPClassifier

    module = MLPClassifier.load_from_checkpoint(checkpoint_of(study_folder(study), run_id))
    probabilities: Array = np.asarray(module.predict(rows), float)
    return probabilities
