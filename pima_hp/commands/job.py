"""One composed job: its settings checked, the runs that it asks for, and how they are trained."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BeforeValidator, DirectoryPath, Field, FilePath, ValidationError

from pima_hp.commands.exits import explain
from pima_hp.config import MAX_SEED, CallbackSection, Component, Config, EngineSection, Section, Seed, Seeds
from pima_hp.config.build import TRUSTED
from pima_hp.config.problems import problems_of
from pima_hp.data.table import read_table
from pima_hp.errors import ConfigurationError, InputError
from pima_hp.run import Run

# Keys that are no settings; the last two are set for the paths of callbacks and loggers.
_INTERNAL = ("hydra", "run_name", "run_id")

# Groups of which a list of options makes no sense; callbacks and loggers may be several.
_ONE_OPTION = ("data", "model", "activation", "optimizer", "scheduler", "batch", "trainer", "engine", "diagnostics",
               "experiment")  # fmt: skip


def _without_null(nodes: Any) -> Any:
    return {name: node for name, node in nodes.items() if node is not None} if isinstance(nodes, Mapping) else nodes


# Of a job.
MOST_RUNS = 1_000_000

_Named = Annotated[dict[str, CallbackSection], BeforeValidator(_without_null)]
_FromText = Field(strict=False)


def _listed(seeds: Any) -> Any:
    return seeds if isinstance(seeds, list | None) else [seeds]


_Seeds = Annotated[Annotated[list[Seed], Field(min_length=1)] | None, BeforeValidator(_listed)]


class StreamsSection(Section):
    """Seeds of single random streams; several are crossed with those of the others. None: the run's own seed."""

    init: _Seeds
    split: _Seeds
    order: _Seeds


class JobSettings(Config):
    """The keys of `conf/config.yaml`: the settings of a run, and how to train, record and publish it."""

    data_digest: str = ""  # not known before the table is read
    callbacks: _Named
    logger: _Named
    engine: EngineSection
    streams: StreamsSection
    seed: Seed
    n_replicates: Annotated[int, Field(ge=1, le=MOST_RUNS)]
    train: bool
    test: bool
    ckpt_path: Annotated[FilePath, _FromText] | None
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    outputs: Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")]
    command: str | None
    dry_run: bool
    debug: bool
    report: bool
    claim_dir: Annotated[DirectoryPath, _FromText] | None
    log_each_run: bool
    export: Annotated[str, BeforeValidator(str), Field(pattern=r"^[0-9a-f]{4,16}$")] | None  # 1234 is a number in YAML


@dataclass(frozen=True)
class Job:
    """A checked job.

    Attributes:
        cfg: as Hydra composed it; callbacks and loggers are built from it for each run that Lightning trains.
        settings: the same, checked.
        runs: one per replicate, all of one configuration; streams with several seeds are crossed.
        notes: what may mislead a training on this table.
    """

    cfg: DictConfig
    settings: JobSettings
    runs: tuple[Run, ...]
    notes: tuple[str, ...]

    @property
    def config(self) -> Config:
        """The configuration of its runs."""
        return self.runs[0].config

    @property
    def folder(self) -> Path:
        """The study's folder."""
        return Path(self.settings.outputs) / self.settings.study

    @property
    def is_recorded(self) -> bool:
        """Whether its runs go into the ledger: no debug run, no test alone, nothing continued from a checkpoint."""
        fast = self.config.trainer.arguments.get("fast_dev_run")
        return self.settings.train and not (self.settings.debug or fast or self.settings.ckpt_path)

    @property
    def only_lightning(self) -> str:
        """Why only Lightning can log these runs; empty where the fast engines can."""
        loggers = self.settings.logger
        theirs = [name for name, logger in loggers.items() if not logger.target.endswith(".TensorBoardLogger")]
        return f"logger={theirs[0]} is one of Lightning's" if theirs else ""

    @property
    def has_tensorboard(self) -> bool:
        """Whether TensorBoard is among the loggers."""
        return any(logger.target.endswith(".TensorBoardLogger") for logger in self.settings.logger.values())


def parse(cfg: DictConfig) -> Job:
    """Check a composed job and return its runs.

    Raises:
        InputError: one line for each problem.
    """
    try:
        content = {str(key): _plain(value) for key, value in cfg.items() if key not in _INTERNAL}
        settings = JobSettings.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(problems_of(error)) from error
    except OmegaConfBaseException as error:  # a mandatory value is missing, or an interpolation leads nowhere
        raise ConfigurationError(explain(error)) from error
    sections = {name: _with_source(name, getattr(settings, name)) for name in (*Config.model_fields, "logger")}
    table = read_table(sections["data"])
    if problems := list(_contradictions(settings, len(table.labels))):
        raise ConfigurationError(problems)
    acting = {name: each for name, each in sections["callbacks"].items() if not each.is_inert}
    own = {name: sections[name] for name in Config.model_fields} | {"callbacks": acting, "data_digest": table.digest}
    config, streams = Config(**own), settings.streams.model_dump(exclude_none=True)
    crossed = [dict(zip(streams, seeds, strict=True)) for seeds in itertools.product(*streams.values())]
    own_seeds = [dict.fromkeys(Seeds._fields, settings.seed + n) for n in range(settings.n_replicates)]
    runs = [Run(config, Seeds(**(seeds | each))) for seeds in own_seeds for each in crossed]
    return Job(cfg, settings, tuple(runs), table.notes)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if OmegaConf.is_config(value) else value


def _with_source(key: str, section: Any) -> Any:
    """Import classes of the user's own, and add the digest of their source; it identifies what they compute."""
    if isinstance(section, Mapping):
        return {name: _with_source(f"{key}.{name}", each) for name, each in section.items()}
    if not isinstance(section, Component) or not section.target:
        return section
    if section.target.partition(".")[0] in TRUSTED and not section.source:
        return section
    from pima_hp.config.build import import_own
    from pima_hp.training.checks import kind_of

    try:
        return section.model_copy(update={"source": import_own(section.target, kind_of(key))})
    except ConfigurationError as error:
        raise ConfigurationError([f"{key}.{problem}" for problem in error.problems]) from error


def _contradictions(settings: JobSettings, n_rows: int) -> Iterator[str]:
    """Yield one line for each setting that another setting or the table rules out."""
    n_train, n_val, n_test = settings.data.split_sizes(n_rows)
    if n_train < 2 or n_test < 1 or (settings.data.val_fraction > 0 and n_val < 1):
        yield f"data: the split must leave at least 2 training rows; found {n_train} of {n_rows} rows"
    elif isinstance(size := settings.batch.size, int) and size > n_train:
        yield f"batch.size: must be from 1 to the {n_train} training rows, or full; found {size}"
    if settings.seed + settings.n_replicates - 1 > MAX_SEED:
        yield f"n_replicates: the last seed must be at most {MAX_SEED}"
    if not settings.train and not (settings.test and settings.ckpt_path):
        yield "train: false must go with test=true ckpt_path=FILE"
    n_runs = settings.n_replicates * math.prod(map(len, settings.streams.model_dump(exclude_none=True).values()))
    if n_runs > MOST_RUNS:
        yield f"n_replicates, streams: must be of at most {MOST_RUNS:,} runs; found {n_runs:,}"
    if n_runs > 1 and (settings.ckpt_path or settings.test or settings.debug):
        yield f"n_replicates, streams: must be of one run with ckpt_path, test or debug; found {n_runs:,} runs"


def checked(configs: Sequence[DictConfig], *, together: bool) -> list[Job]:
    """Parse composed jobs and check that they can be trained.

    Raises:
        ConfigurationError: the problems of all jobs, each line once.
    """
    jobs, problems = [], dict[str, None]()
    for config in configs:
        # Hydra composes all options of a list, the last over the others, and leaves the group out of its choices.
        several = [group for group in _ONE_OPTION if group not in config.hydra.runtime.choices]
        problems |= dict.fromkeys(f"{group}: must be one option; found several, or none" for group in several)
        try:
            jobs.append(job := parse(config))
            problems |= dict.fromkeys(_untrainable(job, alone=not together and len(job.runs) == 1))
        except InputError as error:
            problems |= dict.fromkeys(error.problems)
    if not problems:
        own = {*Config.model_fields, "seed", "n_replicates", "streams"} - {"diagnostics"}
        values = [job.settings.model_dump(exclude=own) | {"trainer.fast_dev_run": job.is_recorded} for job in jobs]
        different = [key for key in values[0] if any(each[key] != values[0][key] for each in values)]
        problems = dict.fromkeys(f"{key}: must be the same for all jobs of a sweep" for key in different)
        problems |= {"test: must go with one run; found a sweep": None} if together and jobs[0].settings.test else {}
    if problems:
        raise ConfigurationError(list(problems))
    if jobs[0].settings.ckpt_path:
        from pima_hp.commands.solo import check_checkpoint

        check_checkpoint(jobs[0])
    return jobs


def _untrainable(job: Job, *, alone: bool) -> Sequence[str]:
    """Return one line for each reason why a job cannot be trained here.

    Raises:
        EngineError: the requested engine cannot train it.
    """
    from pima_hp.training.checks import component_problems
    from pima_hp.training.dispatch import select

    if problems := component_problems(job.config):
        return problems
    settings = job.settings
    engine = select(job.config, settings.engine.name, alone=alone, only_lightning=job.only_lightning)
    if engine != "solo" and job.is_recorded:
        return []
    return component_problems(job.config, {"callbacks": settings.callbacks, "logger": settings.logger}, job.folder)
