"""One composed job: its settings checked, the runs that it asks for, and how they are trained."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BeforeValidator, DirectoryPath, Field, FilePath, ValidationError

from pima_hp.commands.exits import each_of, explain
from pima_hp.config import MAX_SEED, CallbackSection, Config, EngineSection, LoggerSection, Seed, Seeds
from pima_hp.config.problems import problems_of
from pima_hp.data.table import read_table
from pima_hp.errors import ConfigurationError
from pima_hp.run import Run

# Keys that are no settings; the last two are set for the paths of callbacks and loggers.
_INTERNAL = ("hydra", "run_name", "run_id")

# Groups of which a list of options makes no sense; callbacks and loggers may be several.
_ONE_OPTION = [*(key for key in Config.model_fields if key not in ("callbacks", "data_digest")), "engine", "experiment"]

# Of a job.
MOST_RUNS = 1_000_000

_FromText = Field(strict=False)
_WithoutNull = BeforeValidator(
    lambda nodes: {name: node for name, node in nodes.items() if node is not None} if isinstance(nodes, dict) else nodes
)
_Listed = BeforeValidator(lambda seeds: seeds if isinstance(seeds, list) else [seeds])
_Seeds = Annotated[list[Seed], Field(min_length=1), _Listed]


class JobSettings(Config):
    """The keys of `conf/config.yaml`: the settings of a run, and how to train, record and publish it."""

    data_digest: str = ""  # not known before the table is read
    callbacks: Annotated[dict[str, CallbackSection], _WithoutNull]
    logger: Annotated[dict[str, LoggerSection], _WithoutNull]
    engine: EngineSection
    # Seeds of single random streams; several are crossed with those of the others.
    streams: Annotated[dict[Literal["init", "split", "order"], _Seeds], _WithoutNull]
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
        in_sweep: it is a job of a sweep.
    """

    cfg: DictConfig
    settings: JobSettings
    runs: tuple[Run, ...]
    notes: tuple[str, ...]
    in_sweep: bool

    @property
    def together(self) -> bool:
        """Whether its runs are of a sweep, or replicates, which the fastest engine trains together."""
        return self.in_sweep or len(self.runs) > 1

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


def parse(cfg: DictConfig, *, in_sweep: bool = False) -> Job:
    """Check a composed job and return its runs.

    Raises:
        InputError: one line for each problem.
    """
    try:
        content = {str(key): _plain(value) for key, value in cfg.items() if key not in _INTERNAL}
        settings = JobSettings.model_validate(content, context={"is_command": True})
    except ValidationError as error:
        raise ConfigurationError(problems_of(error)) from error
    except OmegaConfBaseException as error:  # a mandatory value is missing, or an interpolation leads nowhere
        raise ConfigurationError(explain(error)) from error
    table = read_table(settings.data)
    if problems := list(_contradictions(settings, len(table.labels))):
        raise ConfigurationError(problems)
    own = {name: getattr(settings, name) for name in Config.model_fields}
    own |= {"callbacks": settings.acting_callbacks, "data_digest": table.digest}
    config, streams = Config(**own), settings.streams
    crossed = [dict(zip(streams, seeds, strict=True)) for seeds in itertools.product(*streams.values())]
    own_seeds = [dict.fromkeys(Seeds._fields, settings.seed + n) for n in range(settings.n_replicates)]
    runs = [Run(config, Seeds(**(seeds | each))) for seeds in own_seeds for each in crossed]
    return Job(cfg, settings, tuple(runs), table.notes, in_sweep)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if OmegaConf.is_config(value) else value


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
    n_runs = settings.n_replicates * math.prod(map(len, settings.streams.values()))
    if n_runs > MOST_RUNS:
        yield f"n_replicates, streams: must be of at most {MOST_RUNS:,} runs; found {n_runs:,}"
    if n_runs > 1 and (settings.ckpt_path or settings.test or settings.debug):
        yield f"n_replicates, streams: must be of one run with ckpt_path, test or debug; found {n_runs:,} runs"


def checked(configs: Sequence[DictConfig]) -> list[Job]:
    """Parse composed jobs and check that they can be trained.

    Raises:
        ConfigurationError: the problems of all jobs, each line once.
    """
    jobs = each_of(configs, _trainable)
    own = {*Config.model_fields, "seed", "n_replicates", "streams"} - {"diagnostics"}
    values = [job.settings.model_dump(exclude=own) | {"trainer.fast_dev_run": job.is_recorded} for job in jobs]
    different = [key for key in values[0] if any(each[key] != values[0][key] for each in values)]
    problems = [f"{key}: must be the same for all jobs of a sweep" for key in different]
    if problems or (jobs[0].in_sweep and jobs[0].settings.test):
        raise ConfigurationError(problems or "test: must go with one run; found a sweep")
    if jobs[0].settings.ckpt_path:
        from pima_hp.commands.solo import check_checkpoint

        check_checkpoint(jobs[0])
    return jobs


def _trainable(config: DictConfig) -> Job:
    """Parse a composed job and check that it can be trained here.

    Raises:
        InputError: one line for each reason why it cannot.
    """
    # Hydra composes all options of a list, the last over the others, and leaves the group out of its choices.
    if several := [group for group in _ONE_OPTION if group not in config.hydra.runtime.choices]:
        raise ConfigurationError([f"{group}: must be one option; found several, or none" for group in several])
    from pima_hp.training.checks import component_problems
    from pima_hp.training.dispatch import select

    job = parse(config, in_sweep=config.hydra.mode == RunMode.MULTIRUN)
    settings = job.settings
    if not (problems := component_problems(job.config)):
        only = job.only_lightning
        engine = select(job.config, settings.engine.name, alone=not job.together, only_lightning=only)
        if engine == "solo" or not job.is_recorded:  # Lightning trains it, with all its callbacks and loggers
            problems = component_problems(
                job.config, {"callbacks": settings.callbacks, "logger": settings.logger}, job.folder
            )
    if problems:
        raise ConfigurationError(problems)
    return job
