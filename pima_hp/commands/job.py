"""One composed job: its settings checked, the runs that it asks for, and how they are trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BeforeValidator, Field, ValidationError

from pima_hp.commands.explain import explain
from pima_hp.config import MAX_SEED, CallbackSection, Component, Config, EngineSection, Section, Seed, Seeds
from pima_hp.config.build import TRUSTED
from pima_hp.config.problems import problems_of
from pima_hp.data.table import read_table
from pima_hp.errors import ConfigurationError
from pima_hp.run import Run

_INTERNAL = ("hydra", "run_name", "run_id")
"""Keys that are no settings; the last two are set for the paths of callbacks and loggers."""


class StreamsSection(Section):
    """Seeds of single random streams; null: the run's own seed."""

    init: Seed | None
    split: Seed | None
    order: Seed | None


class JobSettings(Config):
    """The keys of `conf/config.yaml`: the settings of a run, and how to train, record and publish it."""

    data_digest: str = ""  # not known before the table is read
    callbacks: dict[str, CallbackSection | None]  # type: ignore[assignment]
    logger: dict[str, CallbackSection | None]
    engine: EngineSection
    streams: StreamsSection
    seed: Seed
    n_replicates: Annotated[int, Field(ge=1, le=1_000_000)]
    train: bool
    test: bool
    ckpt_path: Annotated[str, Field(min_length=1)] | None
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    outputs: Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")]
    command: str | None
    dry_run: bool
    debug: bool
    report: bool
    claim_dir: Annotated[str, Field(min_length=1)] | None
    log_each_run: bool
    export: Annotated[str, BeforeValidator(str), Field(pattern=r"^[0-9a-f]{4,16}$")] | None  # 1234 is a number in YAML


@dataclass(frozen=True)
class Job:
    """A checked job.

    Attributes:
        cfg: as Hydra composed it; callbacks and loggers are built from it for each run that Lightning trains.
        settings: the same, checked.
        runs: one per replicate, all of one configuration.
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
    def loggers(self) -> dict[str, CallbackSection]:
        """Name -> logger."""
        return {name: logger for name, logger in self.settings.logger.items() if logger}

    @property
    def callbacks(self) -> dict[str, CallbackSection]:
        """Name -> callback."""
        return {name: callback for name, callback in self.settings.callbacks.items() if callback}

    @property
    def only_lightning(self) -> str:
        """Why only Lightning can log these runs; empty where the fast engines can."""
        theirs = [name for name, logger in self.loggers.items() if not logger.target.endswith(".TensorBoardLogger")]
        return f"logger={theirs[0]} is one of Lightning's" if theirs else ""

    @property
    def has_tensorboard(self) -> bool:
        """Whether TensorBoard is among the loggers."""
        return any(logger.target.endswith(".TensorBoardLogger") for logger in self.loggers.values())


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
    sections = {name: _with_source(name, getattr(settings, name)) for name in Config.model_fields}
    table = read_table(sections["data"])
    if problems := _contradictions(settings, len(table.labels)):
        raise ConfigurationError(problems)
    acting = {name: each for name, each in sections["callbacks"].items() if each and not each.is_inert}
    config = Config(**{**sections, "callbacks": acting, "data_digest": table.digest})
    runs = [Run(config, _seeds(settings.seed + n, settings.streams)) for n in range(settings.n_replicates)]
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


def _contradictions(settings: JobSettings, n_rows: int) -> list[str]:
    """Return one line for each setting that another setting or the table rules out."""
    n_train, n_val, n_test = settings.data.split_sizes(n_rows)
    size, ckpt_path, claim_dir = settings.batch.size, settings.ckpt_path, settings.claim_dir
    empty = n_train < 2 or n_test < 1 or (settings.data.val_fraction > 0 and n_val < 1)
    alone = [name for name in ("ckpt_path", "test", "debug") if getattr(settings, name) and settings.n_replicates > 1]
    rules = {
        f"data: the split must leave at least 2 training rows; found {n_train} of {n_rows} rows": empty,
        f"batch.size: must be from 1 to the {n_train} training rows, or full; found {size}": (
            isinstance(size, int) and size > n_train
        ),
        f"n_replicates: the last seed must be at most {MAX_SEED}": settings.seed + settings.n_replicates - 1 > MAX_SEED,
        f"claim_dir: must be a folder; found {claim_dir!r:.80}": claim_dir and not Path(claim_dir).is_dir(),
        f"ckpt_path: must be a checkpoint file; found {ckpt_path!r:.200}": ckpt_path and not Path(ckpt_path).is_file(),
        "train: false must go with test=true ckpt_path=FILE": not settings.train and not (settings.test and ckpt_path),
        f"{', '.join(alone)}: must go with one run; found n_replicates={settings.n_replicates}": alone,
    }
    return [problem for problem, is_wrong in rules.items() if is_wrong]


def _seeds(seed: int, streams: StreamsSection) -> Seeds:
    own = {role: value for role, value in streams.model_dump().items() if value is not None}
    return Seeds(**{"seed": seed, "init": seed, "split": seed, "order": seed, **own})
