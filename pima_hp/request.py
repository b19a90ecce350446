"""What one composed configuration asks for: a configuration, its seeds, and where the results go."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import MISSING, DictConfig, OmegaConf
from pydantic import BaseModel, Field, ValidationError

from pima_hp.composition import composed_alone, explain, register_resolvers
from pima_hp.config import MAX_SEED, BatchSection, Config, DataSection, EngineSection, Section, Seed, Seeds
from pima_hp.data.sizes import split_sizes
from pima_hp.data.table import read_table
from pima_hp.errors import ConfigurationError, TableError
from pima_hp.run import Run
from pima_hp.settings import flattened
from pima_hp.validation import parse_sections, problems_of, shown


class LoggerSection(Section):
    """Which logs are written."""

    tensorboard: bool
    csv: bool
    per_run: bool


class DebugSection(Section):
    """A rehearsal: whatever is switched on here is passed to Lightning's Trainer, and nothing is recorded."""

    fast_dev_run: bool
    overfit_batches: Annotated[int, Field(ge=0, le=1_000_000)]
    profiler: Literal["simple", "advanced"] | None
    detect_anomaly: bool

    @property
    def trainer_options(self) -> dict[str, Any]:
        """The arguments that differ from an ordinary run."""
        return {name: value for name, value in self.model_dump().items() if value}


class StreamsSection(Section):
    """Seeds of single roles, apart from the run's; null: the run's own."""

    init: Seed | None
    split: Seed | None
    order: Seed | None


class JobSection(Section):
    """The settings outside any group."""

    seed: Seed
    n_replicates: Annotated[int, Field(ge=1, le=1_000_000)]
    study: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    outputs: Annotated[str, Field(min_length=1, pattern=r"^[^\x00]+$")]
    dry_run: bool
    report: bool
    claim_dir: Annotated[str, Field(min_length=1)] | None
    materialize: Annotated[str, Field(pattern=r"^[0-9a-f]{4,16}$")] | None


_KINDS: dict[str, Any] = {name: field.annotation for name, field in Config.model_fields.items()}
_SECTIONS: dict[str, type[BaseModel]] = {name: kind for name, kind in _KINDS.items() if issubclass(kind, Section)}
_OTHERS: dict[str, type[BaseModel]] = {
    "logger": LoggerSection, "debug": DebugSection, "streams": StreamsSection, "engine": EngineSection,
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A checked job: train these runs, keep them there."""

    config: Config  # all settings without the seed
    seeds: tuple[Seeds, ...]  # one per replicate
    folder: Path  # of the study
    logger: LoggerSection  # which logs are written
    debug: DebugSection  # a rehearsal when anything is switched on
    engine: EngineSection = field(default_factory=lambda: EngineSection(name="auto", stack_size=512))
    dry_run: bool = False  # say what would be done, and do nothing
    report: bool = False  # judge the claims and write the report of the study at the end
    claim_dir: Path | None = None  # a reader's own claims, for the report
    materialize: str | None = None  # (the beginning of) the id of a run to be written as an event folder of its own
    choices: Mapping[str, str] = field(default_factory=dict)  # group -> the option chosen in it
    notes: tuple[str, ...] = ()  # what may mislead a training on this table

    @cached_property
    def runs(self) -> list[Run]:
        """The runs asked for, one per replicate."""
        return [Run(self.config, seeds) for seeds in self.seeds]


def request_of(*overrides: str) -> Request:
    """Return what `pima-hp-train OVERRIDES` asks for: `request_of("optimizer=adam", "n_replicates=3")`.

    Raises:
        ConfigurationError: with one line for each problem.
    """
    register_resolvers()
    try:
        config = composed_alone(list(overrides))
        if config is not None:
            return request_from(config)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(explain(error)) from error
    raise ConfigurationError("must be the overrides of a single job; found those of a sweep, or a question")


def request_from(config: DictConfig) -> Request:
    """Check a composed job.

    Raises:
        ConfigurationError: with one line for each problem, all at once.
    """
    settings = {str(key): _plain(config, str(key)) for key in config if key != "hydra"}
    if "hydra" not in config:
        return parse_request(settings)
    for override in config.hydra.overrides.task:
        if override.startswith("materialize=") and isinstance(settings["materialize"], int | float):
            settings["materialize"] = override.partition("=")[2]  # an id of digits alone is no number
    return parse_request(settings, dict(config.hydra.runtime.choices))


def _plain(config: DictConfig, key: str) -> Any:
    value = MISSING if OmegaConf.is_missing(config, key) else config[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def parse_request(settings: Mapping[str, Any], choices: Mapping[str, str] | None = None) -> Request:
    """Check a composed configuration as a whole.

    Args:
        settings: plain dictionaries and values, as `OmegaConf.to_container(cfg, resolve=True)` gives them.
        choices: group -> option, as Hydra keeps them in `hydra.runtime.choices`; for names alone.

    Raises:
        ConfigurationError: with one line for each problem, all at once.
    """
    if missing := _missing(settings, choices or {}):
        raise ConfigurationError(missing)
    sound, problems = parse_sections(settings, _SECTIONS | _OTHERS)
    rest = {key: value for key, value in settings.items() if key not in sound | _SECTIONS | _OTHERS and key != "hydra"}
    try:
        job = JobSection.model_validate(rest)
    except ValidationError as error:
        problems += problems_of(error, "", JobSection)
    else:
        last_seed = job.seed + job.n_replicates - 1
        if last_seed > MAX_SEED:
            problems.append(f"n_replicates: the last seed must be at most {MAX_SEED}; found {last_seed}")
        if job.claim_dir and not Path(job.claim_dir).is_dir():
            problems.append(f"claim_dir: must be a folder of claims, <id>.yaml; found {shown(job.claim_dir)}")
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
    configuration = Config(data_digest=digest, **{name: sound[name] for name in _SECTIONS})
    return Request(
        config=configuration,
        seeds=tuple(_seeds(job.seed + replicate, sound["streams"]) for replicate in range(job.n_replicates)),
        folder=Path(job.outputs) / job.study,
        logger=sound["logger"],
        debug=sound["debug"],
        engine=sound["engine"],
        dry_run=job.dry_run,
        report=job.report,
        claim_dir=Path(job.claim_dir) if job.claim_dir else None,
        materialize=job.materialize,
        choices=dict(choices or {}),
        notes=notes,
    )


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
    n_train, n_val, n_test = split_sizes(n_rows, data)
    if n_train < 2 or n_test < 1 or (data.val_fraction > 0 and n_val < 1):
        return [f"data: the split must leave at least 2 training rows; found {n_train} of {n_rows} rows"]
    if batch is not None and isinstance(batch.size, int) and batch.size > n_train:
        return [f"batch.size: must be from 1 to the {n_train} training rows, or full; found {batch.size}"]
    return []
