"""One composed job, checked: which runs to train, and how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError
from pydantic import BaseModel, Field, ValidationError

from pima_hp.config import (
    MAX_SEED,
    BatchSection,
    CallbackSection,
    Component,
    Config,
    DataSection,
    EngineSection,
    Section,
    Seed,
    Seeds,
)
from pima_hp.config.build import TRUSTED
from pima_hp.config.flat import flattened
from pima_hp.config.problems import RENAMED, parse_sections, problems_of, shown
from pima_hp.data.table import read_table
from pima_hp.errors import ConfigurationError, TableError
from pima_hp.run import Run, replicate_of


class StreamsSection(Section):
    """Seeds of single roles, apart from the run's; null: the run's own."""

    init: Seed | None
    split: Seed | None
    order: Seed | None


class JobSection(Section):
    """The settings outside any group."""

    seed: Seed
    n_replicates: Annotated[int, Field(ge=1, le=1_000_000)]
    train: bool
    test: bool
    ckpt_path: Annotated[str, Field(min_length=1)] | None
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    outputs: Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")]
    run_name: str | None
    run_id: str | None
    command: str | None
    dry_run: bool
    debug: bool
    report: bool
    claim_dir: Annotated[str, Field(min_length=1)] | None
    log_each_run: bool
    export: Annotated[str, Field(pattern=r"^[0-9a-f]{4,16}$")] | None


_KINDS: dict[str, Any] = {name: field.annotation for name, field in Config.model_fields.items()}
_SECTIONS: dict[str, type[BaseModel]] = {
    name: kind for name, kind in _KINDS.items() if isinstance(kind, type) and issubclass(kind, Section)
}
_OTHERS: dict[str, type[BaseModel]] = {"engine": EngineSection, "streams": StreamsSection}
_TRUSTED_PREFIXES = tuple(f"{package}." for package in TRUSTED)
_NODES = ("callbacks", "logger")


@dataclass(frozen=True)
class Job:
    """A checked job.

    Attributes:
        cfg: as Hydra composed it; callbacks and loggers are built from it for each run that Lightning trains.
        runs: one per replicate.
        engine: which engine was asked for.
        settings: the settings outside any group.
        callbacks: name -> callback.
        loggers: name -> logger.
        notes: what may mislead a training on this table.
    """

    cfg: DictConfig
    runs: tuple[Run, ...]
    engine: EngineSection
    settings: JobSection
    callbacks: Mapping[str, CallbackSection]
    loggers: Mapping[str, CallbackSection]
    notes: tuple[str, ...] = ()

    @property
    def config(self) -> Config:
        """The configuration of all its runs."""
        return self.runs[0].config

    @cached_property
    def folder(self) -> Path:
        """The study's folder."""
        return Path(self.settings.outputs) / self.settings.study

    @property
    def is_recorded(self) -> bool:
        """Whether its runs go into the ledger: no debug run, no test alone, nothing continued from a checkpoint."""
        fast = self.config.trainer.arguments.get("fast_dev_run")
        return not (self.settings.debug or fast or self.settings.ckpt_path) and self.settings.train

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
        ConfigurationError: one line for each problem, all at once.
    """
    choices = dict(cfg.hydra.runtime.choices) if "hydra" in cfg else {}
    settings = {str(key): _plain(cfg, str(key)) for key in cfg if key != "hydra"}
    overrides = cfg.hydra.overrides.task if "hydra" in cfg else []
    for override in overrides:
        if override.startswith("export=") and isinstance(settings["export"], int | float):
            settings["export"] = override.partition("=")[2]  # an id of digits alone is no number
    if missing := _missing(settings, choices):
        raise ConfigurationError(missing)
    if given := [key for key in flattened(settings) if key.endswith("._source_")]:
        raise ConfigurationError([f"{key}: must not be given; it is computed" for key in given])
    sound, problems = parse_sections(settings, _SECTIONS | _OTHERS)
    nodes = {name: _components(name, settings.get(name), problems) for name in _NODES}
    sound = {name: _with_source(name, section, problems) for name, section in sound.items()}
    nodes = {
        group: {name: _with_source(f"{group}.{name}", node, problems) for name, node in own.items()}
        for group, own in nodes.items()
    }
    rest = {key: value for key, value in settings.items() if key not in _SECTIONS | _OTHERS | dict.fromkeys(_NODES)}
    for old in [key for key in rest if key in RENAMED]:
        problems.append(f"{old}: is called {RENAMED[old]} now")
        rest.pop(old)
    try:
        job = JobSection.model_validate(rest)
    except ValidationError as error:
        problems += problems_of(error, "", JobSection)
    else:
        if (last := job.seed + job.n_replicates - 1) > MAX_SEED:
            problems.append(f"n_replicates: the last seed must be at most {MAX_SEED}; found {last}")
        if job.claim_dir and not Path(job.claim_dir).is_dir():
            problems.append(f"claim_dir: must be a folder of claims, <id>.yaml; found {shown(job.claim_dir)}")
        if job.ckpt_path and not Path(job.ckpt_path).is_file():
            problems.append(f"ckpt_path: must be a checkpoint file; found {shown(job.ckpt_path, 200)}")
        if not job.train and not (job.test and job.ckpt_path):
            problems.append("train: false must go with test=true ckpt_path=FILE; found nothing to do")
        for name in ("ckpt_path", "test", "debug"):
            if getattr(job, name) and job.n_replicates > 1:
                problems.append(f"{name}: must go with one run; found n_replicates={job.n_replicates}")
    digest, notes = "", tuple[str, ...]()
    if "data" in sound:
        try:
            table = read_table(sound["data"])
        except TableError as error:
            problems += error.problems
        else:
            digest, notes = table.digest, table.notes
            problems += _row_problems(len(table.labels), sound["data"], sound.get("batch"))
    if problems:
        raise ConfigurationError(problems)
    acting = {name: node for name, node in nodes["callbacks"].items() if not node.is_inert}
    config = Config(data_digest=digest, callbacks=acting, **{name: sound[name] for name in _SECTIONS})
    seeds = [_seeds(job.seed + replicate, sound["streams"]) for replicate in range(job.n_replicates)]
    runs = tuple(Run(config, each) for each in seeds)
    return Job(
        cfg,
        runs,
        sound["engine"],
        job,
        nodes["callbacks"],
        nodes["logger"],
        (*notes, *_copies_note(runs, len(table.labels))),
    )


def _components(group: str, nodes: object, problems: list[str]) -> dict[str, CallbackSection]:
    """Check a mapping of names to classes, such as callbacks; entries that are null are left out."""
    found: dict[str, CallbackSection] = {}
    if not isinstance(nodes, Mapping):
        problems.append(f"{group}: must be one of its options, or name: {{_target_: CLASS}}; found {shown(nodes)}")
        return found
    for name, node in nodes.items():
        if node is None:
            continue
        if not isinstance(node, Mapping) or "_target_" not in node:
            if f"{group}.{name}" in RENAMED:
                problems.append(f"{group}.{name}: is called {RENAMED[f'{group}.{name}']} now")
            else:
                problems.append(f"{group}.{name}: must name a class by _target_; found {shown(node)}")
            continue
        try:
            found[str(name)] = CallbackSection.model_validate(node)
        except ValidationError as error:
            problems += problems_of(error, f"{group}.{name}", Component)
    return found


def _with_source(key: str, section: Any, problems: list[str]) -> Any:
    """Import a class of the user's own, and add the digest of its source to the section."""
    if not isinstance(section, Component) or not section.target or section.target.startswith(_TRUSTED_PREFIXES):
        return section
    from pima_hp.config.build import import_own
    from pima_hp.training.checks import kind_of

    try:
        return section.model_copy(update={"source": import_own(section.target, kind_of(key))})
    except ConfigurationError as error:
        problems += [f"{key}.{problem}" for problem in error.problems]
        return section


def _plain(cfg: DictConfig, key: str) -> Any:
    value = MISSING if OmegaConf.is_missing(cfg, key) else cfg[key]
    if not OmegaConf.is_config(value):
        return value
    try:
        return OmegaConf.to_container(value, resolve=True)
    except InterpolationToMissingValueError:  # what is missing is named by itself
        return OmegaConf.to_container(value)


def _missing(settings: Mapping[str, Any], choices: Mapping[str, str]) -> list[str]:
    """Return one line for each mandatory value (`???`) that was not given."""
    problems = []
    for key, value in flattened(settings).items():
        if MISSING in (value if isinstance(value, tuple) else (value,)):
            group, _, leaf = key.partition(".")
            option = f" with {group}={choices[group]}" if group in choices else ""
            example = "my.csv" if leaf == "path" else "VALUE"
            problems.append(f"{key}: must be given{option}, for example {key}={example}")
    return problems


def _seeds(seed: int, streams: StreamsSection) -> Seeds:
    pinned = {role: own for role, own in streams.model_dump().items() if own is not None}
    return Seeds(**{"seed": seed, "init": seed, "split": seed, "order": seed, **pinned})


def _row_problems(n_rows: int, data: DataSection, batch: BatchSection | None) -> list[str]:
    n_train, n_val, n_test = data.split_sizes(n_rows)
    if n_train < 2 or n_test < 1 or (data.val_fraction > 0 and n_val < 1):
        return [f"data: the split must leave at least 2 training rows; found {n_train} of {n_rows} rows"]
    if batch is not None and isinstance(batch.size, int) and batch.size > n_train:
        return [f"batch.size: must be from 1 to the {n_train} training rows, or full; found {batch.size}"]
    return []


def _copies_note(runs: Sequence[Run], n_rows: int) -> list[str]:
    """Return a note where replicates are copies of one run; nothing where they differ."""
    config = runs[0].config
    batch, (n_train, _, _) = config.batch, config.data.split_sizes(n_rows)
    distinct = {
        replicate_of(run.seeds.init, run.seeds.split, run.seeds.order, batch.shuffle, batch.size, n_train)
        for run in runs
    }
    if len(distinct) == len(runs):
        return []
    pinned = "streams.init and streams.split are pinned and rows are not shuffled"
    if batch.shuffle:
        pinned = "streams.init, streams.split and streams.order are pinned"
        if batch.size in ("full", n_train):
            pinned = "streams.init and streams.split are pinned and one batch holds all rows"
    return [f"n_replicates={len(runs)} trains one distinct run per configuration: {pinned}"]
