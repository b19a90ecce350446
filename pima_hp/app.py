"""The command `pima-hp-train`: from composed settings to runs in the ledger, alone or as a sweep."""

import gc
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pima_hp.composition import CONF, UNNAMED_STUDY, composed_alone, explain, is_of_hydra, register_resolvers
from pima_hp.errors import ConfigurationError, InputError, PimaError, StorageError
from pima_hp.interruption import Interrupted, asked_to_stop, listen, stop_listening
from pima_hp.ledger.atomic import storage_error
from pima_hp.record import Run
from pima_hp.request import Request, parse_request
from pima_hp.study import Study, label_of, say

_HELD = "PIMA_HP_HELD_STUDY"  # tells worker processes that their parent holds this study
_studies: dict[Path, Study] = {}


def requests_of(jobs: Sequence[DictConfig]) -> list[Request]:
    """Check composed jobs; every problem of every job in one error, each line once."""
    requests, problems = [], dict[str, None]()
    for config in jobs:
        choices = dict(config.hydra.runtime.choices) if "hydra" in config else {}
        try:
            requests.append(parse_request({str(key): _plain(config[key]) for key in config if key != "hydra"}, choices))
        except ConfigurationError as error:
            problems.update(dict.fromkeys(error.problems))
        except Exception as error:  # noqa: BLE001 -- an interpolation that leads nowhere
            problems[explain(error)] = None
    if not problems:
        from pima_hp.training.checks import component_problems

        for request in requests:
            problems.update(dict.fromkeys(component_problems(request.configuration)))
    if problems:
        shown = list(problems)[:20]
        more = [f"... and {len(problems) - 20} more"] if len(problems) > 20 else []
        raise ConfigurationError([*shown, *more])
    return requests


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def opened(folder: Path) -> Study:
    """Return the study of a folder, held by this command (or by the parent of this worker)."""
    if folder not in _studies:
        study = Study(folder)
        if os.environ.get(_HELD) != str(folder.resolve()):
            study.hold()
            os.environ[_HELD] = str(folder.resolve())
        _studies[folder] = study
    return _studies[folder]


class Sweep:
    """What happens to a sweep as a whole: the hooks of the sweeper and the launcher."""

    def __init__(self) -> None:
        self.requests: Sequence[Request] = ()
        self._checked: dict[tuple[str, ...], Request] = {}  # by the overrides of a job

    def forget(self) -> None:
        """Begin anew: another command in the same process."""
        self.requests = ()
        self._checked.clear()

    def request_of(self, job: DictConfig) -> Request:
        """Return the request of a job, checked once: by its overrides, which are all that sets it apart."""
        overrides = HydraConfig.get().overrides if "hydra" not in job else job.hydra.overrides
        key = tuple(overrides.task)
        if key not in self._checked:
            (self._checked[key],) = requests_of([job])
        return self._checked[key]

    def plan(self, jobs: Sequence[DictConfig], swept: Sequence[str]) -> list[int]:
        """Check all jobs, write the manifest, and return the jobs that have runs to be trained."""
        self.requests = ()
        requests = requests_of(jobs)
        self._checked = {tuple(job.hydra.overrides.task): one for job, one in zip(jobs, requests, strict=True)}
        first = requests[0]
        for name in ("folder", "logger", "debug", "dry_run", "report", "claim_dir", "materialize"):
            if any(getattr(one, name) != getattr(first, name) for one in requests):
                what = "study and outputs" if name == "folder" else name
                raise ConfigurationError(f"{what}: must be the same for all jobs of a sweep; one command, one study")
        if first.debug.trainer_options:
            return list(range(len(requests)))  # rehearsals leave no trace in a study
        labels = [label_of(request, swept) for request in requests]
        if first.dry_run:
            from pima_hp.plan import print_plan

            print_plan(requests, labels, together=True)
            return []
        self.requests = requests
        study = opened(first.folder)
        if first.materialize:
            return []
        study.plan(requests, labels, swept)
        missing = {run.run_id for run in study.missing(requests)}
        n_asked = len({run.run_id for request in requests for run in request.runs})
        if n_held := n_asked - len(missing):
            say(f"{first.folder}: {n_held:,} of {n_asked:,} runs are in the ledger; {len(missing):,} to train")
        study.n_planned = len(missing)
        kept = []
        for position, request in enumerate(requests):
            mine = {run.run_id for run in request.runs} & missing
            if mine:
                kept.append(position)
            missing -= mine
        return kept

    def train_together(self, jobs: Sequence[DictConfig]) -> None:
        """Train what the ledger lacks of these jobs, in stacks."""
        requests = [self.request_of(job) for job in jobs]
        if requests[0].debug.trainer_options:
            return
        study = opened(requests[0].folder)
        if runs := study.missing(requests):
            study.train(runs, together=True)

    def finish(self) -> None:
        """Publish the study and tell what was found."""
        if self.requests:
            conclude(self.requests)


def conclude(requests: Sequence[Request], alone: Run | None = None) -> None:
    """Publish what the requests have left in their study, and print a summary.

    Args:
        requests: all jobs of the command.
        alone: the only run that was asked for, unless it was asked for as a sweep.
    """
    first = requests[0]
    if first.debug.trainer_options:
        return
    study = opened(first.folder)
    if first.materialize:
        study.materialize(first.materialize)
        say(f"written below {study.folder / 'tensorboard'}")
        return
    frame = study.publish(first.logger, alone)
    from pima_hp.summary import print_summary

    asked = frame["config_id"].isin({request.configuration.config_id for request in requests})
    study.n_failed = int((frame.loc[asked, "status"] == "failed").sum())  # workers count for themselves
    print_summary(study, frame, requests)
    if first.report:
        from pima_hp.reporting import report_study

        report_study(study.folder, first.claim_dir, own_table=True)


sweep = Sweep()


def train(config: DictConfig) -> float | None:
    """Make sure that the ledger holds the runs of one job; Hydra's task function.

    Returns:
        The mean final `val/accuracy` of the job's runs, for sweepers that optimise.
    """
    request = sweep.request_of(config)
    if request.debug.trainer_options:
        return rehearse(request)
    study = opened(request.folder)
    if runs := study.missing([request]):
        if not study.planned(runs):  # a sweeper without hooks gave no plan of the whole
            keys = [override.partition("=")[0].lstrip("+") for override in HydraConfig.get().overrides.task]
            study.plan([request], [label_of(request, keys)], keys)
        study.train(runs, together=len(request.seeds) > 1, logger=request.logger)
    return study.mean_score(request, "val/accuracy")


train.sweep_hooks = sweep  # type: ignore[attr-defined]


def rehearse(request: Request) -> float | None:
    """Train the first run with the debug options of Lightning; nothing is recorded."""
    from pima_hp.training.solo import train_solo

    if request.debug.profiler:  # its report is a log message of Lightning, which is kept quiet otherwise
        reports = logging.getLogger("lightning.pytorch.profilers")
        reports.handlers, reports.level, reports.propagate = [logging.StreamHandler()], logging.INFO, False
    record = train_solo(request.configuration, request.seeds[0], **request.debug.trainer_options)
    options = ", ".join(f"{name}={value}" for name, value in request.debug.trainer_options.items())
    say(f"rehearsal ({options}): {record.status}, final scores {record.scores}; nothing was recorded")
    return record.scores.get("val/accuracy")


def _single(arguments: list[str]) -> Request | None:
    """Check a single run and write it down; None for a sweep, or when only information is asked."""
    config = composed_alone(arguments)
    if config is None:
        return None
    (request,) = requests_of([config])
    if request.materialize and not (request.folder / "ledger").is_dir():
        raise ConfigurationError(
            f"materialize: must be a run of a study (study=NAME); found no study in {request.folder}"
        )
    if not (request.dry_run or request.debug.trainer_options or request.materialize):
        keys = [override.partition("=")[0].lstrip("+") for override in config.hydra.overrides.task]
        opened(request.folder).plan([request], [label_of(request, keys)], [])
    return request


def main() -> None:
    """Run the command; the exit code says how it ended (see `pima_hp.errors`)."""
    code = run(sys.argv[1:])
    gc.freeze()  # Python would look once more, for seconds, at all that a large sweep has composed, before it ends
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run the command with these arguments and return its exit code."""
    register_resolvers()
    show_traces = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of Hydra's own printer
    listen()
    try:
        return _run(arguments)
    except BaseException as error:  # noqa: BLE001 -- raised again, or told in a line
        stop = asked_to_stop(error)
        return _stopped(stop, arguments) if stop else _ended(error, show_traces=show_traces)
    finally:
        stop_listening()
        for study in _studies.values():
            study.close()
        _studies.clear()
        sweep.forget()
        for name in (_HELD, UNNAMED_STUDY, *([] if show_traces else ["HYDRA_FULL_ERROR"])):
            os.environ.pop(name, None)


def _stopped(stop: Interrupted, arguments: list[str]) -> int:
    """Say what is kept and how to go on."""
    stop_listening()  # Lightning puts handlers back that were there before it
    found = ""
    with suppress(PimaError):
        found = "; ".join(study.tally() for study in _studies.values())
    say(f"stopped by {stop}: {found or 'nothing was begun'}; to go on: {_resume(arguments)}")
    return stop.exit_code


def _ended(error: BaseException, *, show_traces: bool) -> int:
    """Say in a line what went wrong; raise what is not for a person to mend, or everything on request."""
    if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough: `pima-hp-train --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if show_traces:
        raise error
    if isinstance(error, PimaError):
        prefix = "refused: " if isinstance(error, InputError) else ""
        say("\n".join(f"{prefix}{line}" for line in str(error).splitlines()))
        return error.exit_code
    if isinstance(error, Exception) and is_of_hydra(error):
        say(f"refused: {explain(error)}")
        return InputError.exit_code
    if isinstance(error, OSError):  # of a file of Hydra's; ours come as a StorageError
        say(str(storage_error(error, Path(error.filename) if error.filename else next(iter(_studies), Path.cwd()))))
        return StorageError.exit_code
    raise error


def _run(arguments: list[str]) -> int:
    single = _single(arguments)
    if single and single.dry_run:
        from pima_hp.plan import print_plan

        print_plan([single], ["run"], together=len(single.seeds) > 1)
        return 0
    if single and single.materialize:
        conclude([single])
        return 0
    sys.argv[1:] = arguments
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(train)()
    if single:
        conclude([single], single.runs[0] if len(single.seeds) == 1 else None)
    return 1 if any(study.n_failed for study in _studies.values()) else 0


def _resume(arguments: list[str]) -> str:
    unnamed = [folder.name for folder in _studies if folder.name == os.environ.get(UNNAMED_STUDY)]
    return shlex.join(["pima-hp-train", *arguments, *(f"study={name}" for name in unnamed)])
