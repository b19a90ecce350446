"""Settings: what is refused and how it is said (FAULTS, D2 to D6), and the identity of a configuration and of a run."""

import math
import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from pydantic import BaseModel

from pima_hp.commands.job import _OTHERS, _SECTIONS, JobSection, parse
from pima_hp.config import MAX_SEED, Config, Seeds
from pima_hp.config.options import CONF, options
from pima_hp.data.table import SHIPPED
from pima_hp.errors import ConfigurationError
from pima_hp.seeds import Role, stream
from tests.conftest import Settings, job_of, seeds_of, settings_of

COMPONENTS = ("activation", "optimizer", "scheduler")
NO_NUMBERS: list[Any] = [math.nan, math.inf, -math.inf, float("1e400"), "word", True, {"a": 1}]
ALWAYS_BAD = [*NO_NUMBERS, -1, 2**63]


def problems_of(settings: Settings) -> list[str]:
    """The lines of a refusal; each must be one line that names what must hold and what was found."""
    with pytest.raises(ConfigurationError) as caught:
        parse(OmegaConf.create(settings))
    assert caught.value.exit_code == 2
    assert str(caught.value).splitlines() == list(caught.value.problems)
    assert all(problem.isprintable() and len(problem) < 800 for problem in caught.value.problems)
    return list(caught.value.problems)


def changed(key: str, value: Any, *overrides: str) -> Settings:
    """Composed settings with one value replaced, as no YAML need be able to write it."""
    settings = settings_of(*overrides)
    section, _, name = key.rpartition(".")
    (settings[section] if section else settings)[name] = value
    return settings


def fields() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each field of the schema as a dotted key with its JSON schema."""
    sections: dict[str, type[BaseModel]] = {**_SECTIONS, **_OTHERS, "": JobSection}
    for section, model in sections.items():
        for name, schema in model.model_json_schema(by_alias=False)["properties"].items():
            if name not in ("target", "source"):
                yield f"{section}.{name}".lstrip("."), schema


def types_of(schema: dict[str, Any]) -> set[str]:
    kinds = [*schema.get("anyOf", []), schema]
    return {str(kind["type"]) for kind in kinds if "type" in kind} or {"string"}  # an enumeration of words


FIELDS = dict(fields())
NUMERIC = sorted(key for key, schema in FIELDS.items() if types_of(schema) & {"integer", "number"})
HYPERPARAMETERS = sorted(
    {
        (f"{group}={option}", f"{group}.{name}")
        for group in COMPONENTS
        for option in options(group)
        for name, value in OmegaConf.to_container(OmegaConf.load(CONF / group / f"{option}.yaml")).items()
        if name != "defaults" and (str(value).startswith("${") or type(value) in (int, float, list))
    }
)
WRONG: dict[str, list[Any]] = {
    "integer": ["word", 1.5, [1], {"a": 1}, True],
    "number": ["word", [1], {"a": 1}, True],
    "boolean": ["word", 1, 0.0, [True]],
    "string": [1, 1.5, True, ["word"], {"a": 1}],
    "array": ["word", 1, {"a": 1}, [{"a": 1}]],
}


def test_the_schema_is_walked_as_a_whole() -> None:
    assert {"trainer.max_epochs", "data.test_fraction", "batch.size", "seed", "n_replicates", "streams.init"} <= set(
        NUMERIC
    )
    assert {"optimizer.lr", "optimizer.betas", "scheduler.factor", "activation.negative_slope"} <= {
        key for _, key in HYPERPARAMETERS
    }


@pytest.mark.parametrize("key", FIELDS)
def test_d2_another_type_is_refused(key: str) -> None:
    allowed = types_of(FIELDS[key])
    bad = [value for value in WRONG[sorted(allowed - {"null"})[0]] if value != "word" or "string" not in allowed]
    bad += [] if "null" in allowed else [None]
    for value in bad:
        problems = problems_of(changed(key, value))
        assert any(line.startswith(key) and "must" in line for line in problems), (value, problems)


@pytest.mark.parametrize("key", NUMERIC)
def test_d3_a_number_out_of_range_is_refused(key: str) -> None:
    unbounded = key == "optimizer.lr"  # 2**63 is a learning rate, if a bad one: such a run diverges
    bad = [value for value in ALWAYS_BAD if not (unbounded and value == 2**63)]
    kinds = [FIELDS[key], *FIELDS[key].get("anyOf", [])]
    zero_is_allowed = any(kind.get("minimum") == 0 for kind in kinds)
    for value in bad if zero_is_allowed else [*bad, 0]:
        problems = problems_of(changed(key, value))
        assert any(line.startswith(key) and "must" in line and "found" in line for line in problems), (value, problems)


@pytest.mark.parametrize(("choice", "key"), HYPERPARAMETERS, ids=lambda text: text)
def test_d3_a_hyperparameter_must_be_a_finite_number(choice: str, key: str) -> None:
    group, _, name = key.partition(".")
    now = settings_of(choice)[group][name]
    bad = NO_NUMBERS if group != "activation" else [math.nan, math.inf, -math.inf, {"a": 1}]
    for value in bad if group == "activation" else [*bad, -1]:
        settings = changed(key, [value, value] if isinstance(now, list) else value, choice)
        problems = problems_of(settings)
        assert any(line.startswith(key) and "must" in line for line in problems), (value, problems)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("batch.size=615", "batch.size: must be from 1 to the 614 training rows, or full; found 615"),
        ("batch.size=0", "batch.size: must be a whole number from 1 to the number of training rows, or full; found 0"),
        ("batch.size=half", "batch.size: must be a whole number from 1"),
        ("data.test_fraction=0", "data.test_fraction: must be greater than 0; found 0"),
        ("data.test_fraction=1", "data.test_fraction: must be less than 1; found 1"),
        ("data.val_fraction=1", "data.val_fraction: must be less than 1; found 1"),
        ("data.val_fraction=0.8", "data: test_fraction + val_fraction must be below 1; found 1"),
        ("data.test_fraction=0.999", "data: the split must leave at least 2 training rows; found 0 of 768 rows"),
        ("model.hidden_widths=[12,0]", "model.hidden_widths.1: must be greater than or equal to 1; found 0"),
        ("model.hidden_widths=[]", "model.hidden_widths: "),
        ("trainer.max_epochs=0", "trainer.max_epochs: must be greater than or equal to 1; found 0"),
        ("seed=-1", "seed: must be greater than or equal to 0; found -1"),
        (f"seed={MAX_SEED + 1}", f"seed: must be less than or equal to {MAX_SEED}; found {MAX_SEED + 1}"),
        (
            "trainer.precision=16",
            "trainer.precision: must be one of 32-true, 64-true, 16-mixed, bf16-mixed, bf16-true, 16-true; found 16",
        ),
        ("model.initialization=unifrm", "nearest: uniform"),
        ("data.scaling=standart", "must be one of none, standard, minmax; found 'standart'; nearest: standard"),
        ("data.label=outcom", "nearest: 'outcome'"),
        ("study=../elsewhere", "study: "),
        ("export=../x", "export: "),
    ],
)
def test_d4_d5_a_bound_and_what_is_allowed_are_named(override: str, expected: str) -> None:
    (problem,) = problems_of(settings_of(override))
    assert expected in problem


def test_the_last_seed_of_the_replicates_must_be_a_seed() -> None:
    (problem,) = problems_of(settings_of(f"seed={MAX_SEED}", "n_replicates=2"))
    assert problem.startswith("n_replicates: the last seed must be at most")


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        ("+foo=1", "foo: no such setting; allowed: "),
        ("+data.foo=1", "data.foo: no such setting; allowed: "),
        ("+engine.nam=solo", "engine.nam: no such setting; nearest: name"),
        ("+streams.nit=3", "streams.nit: no such setting; nearest: init"),
        ("+n_replicate=3", "n_replicate: no such setting; nearest: n_replicates"),
    ],
)
def test_d6_an_addition_is_refused_with_the_nearest_name(addition: str, expected: str) -> None:
    (problem,) = problems_of(settings_of(addition))
    assert problem.startswith(expected)


def test_all_problems_are_found_at_once_each_in_one_line() -> None:
    overrides = ["trainer.max_epochs=0", "optimizer.lr=-1", "batch.size=0", "data.scaling=x", "seed=-1", "+logger.x=1"]
    problems = problems_of(settings_of(*overrides))
    keys = ["data.scaling", "optimizer.lr", "batch.size", "trainer.max_epochs", "logger.x", "seed"]
    assert [problem.partition(":")[0] for problem in problems] == keys


def test_a_hostile_value_is_shown_escaped_and_cut() -> None:
    settings = changed("data.scaling", "\x1b[31m\n" + "x" * 10_000)
    (problem,) = problems_of(settings)
    assert "\\x1b[31m\\n" in problem


# Identity


def config_id(*overrides: str) -> str:
    return job_of(*overrides).config.id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("optimizer=adam", "optimizer=adam optimizer.lr=0.001"),
        ("batch=b5", "batch.size=5"),
        ("optimizer.lr=1", "optimizer.lr=1.0"),
        ("optimizer.lr=1e-3", ""),
        ("optimizer=sgd_momentum", "optimizer=sgd optimizer.momentum=0.9 +optimizer.nesterov=false"),
        ("optimizer.weight_decay=-0.0", "optimizer.weight_decay=0"),
        ("seed=1 n_replicates=5 streams.split=3", ""),
        ("trainer=cpu engine=solo engine.stack_size=7", "trainer=auto"),
        ("callbacks=none +trainer.profiler=simple +trainer.gradient_clip_val=null", ""),
        ("logger=both debug=profiler outputs=x study=y dry_run=true", ""),
        ("data=pima_standardized", "data.scaling=standard"),
    ],
)
def test_two_spellings_have_one_id(one: str, other: str) -> None:
    assert config_id(*one.split()) == config_id(*other.split())


def test_the_same_table_under_another_path_is_the_same_data(tmp_path: Path) -> None:
    copy = shutil.copy(SHIPPED, tmp_path / "copy.csv")
    assert config_id(f"data.path={copy}") == config_id()
    rows = SHIPPED.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "other.csv").write_text("".join(rows[:-1]), encoding="utf-8")
    assert config_id(f"data.path={tmp_path / 'other.csv'}") != config_id()


def leaves(settings: Settings) -> Iterator[tuple[str, str]]:
    for section, content in settings.items():
        if isinstance(content, dict):
            yield from ((section, name) for name in content)


BASE = job_of("optimizer=adam", "activation=leaky_relu", "scheduler=plateau_half").config
OTHER: dict[str, Any] = {
    "path": "elsewhere.csv", "label": "age", "missing": "median", "scaling": "minmax", "features": ["age"],
    "zero_is_missing": ["bmi"], "hidden_widths": [12, 9], "initialization": "he_normal", "precision": "64-true",
    "accelerator": "gpu", "devices": 1, "monitor": "train/loss", "threshold_mode": "rel",
    "betas": [0.8, 0.999], "patience": 8.0, "cooldown": 1.0,
}  # fmt: skip
NOT_IDENTITY = {("data", "path"), ("trainer", "accelerator"), ("trainer", "devices")}
OTHER_TARGETS = {"activation": "torch.nn.Tanh", "optimizer": "torch.optim.SGD"}


def settings_of_base() -> Settings:
    settings = deepcopy(BASE.model_dump(by_alias=True))
    for section in COMPONENTS:
        del settings[section]["name"]  # follows from the rest
    return settings


@pytest.mark.parametrize(("section", "name"), list(leaves(settings_of_base())))
def test_the_id_changes_with_each_setting_that_decides_what_is_computed(section: str, name: str) -> None:
    settings = settings_of_base()
    value = settings[section][name]
    if name == "_target_":
        settings[section][name] = OTHER_TARGETS.get(section, "torch.optim.lr_scheduler.StepLR")
    elif isinstance(value, bool):
        settings[section][name] = not value
    else:
        settings[section][name] = OTHER[name] if name in OTHER else value + (1 if isinstance(value, int) else 0.125)
    other = Config.model_validate(settings)
    assert (other.id == BASE.id) is ((section, name) in NOT_IDENTITY)


def test_the_data_are_part_of_the_id_and_the_version_of_the_ledgers_files_is_not() -> None:
    other = BASE.model_copy(update={"data_digest": "1" * 64})
    assert Config.model_validate(other.model_dump(by_alias=True)).id != BASE.id
    assert "schema_version" not in BASE.content


def test_a_run_id_depends_on_the_configuration_and_on_each_seed() -> None:
    seeds = {"seed": 1, "init": 2, "split": 3, "order": 4}
    ids = [BASE.run_id(Seeds(**{**seeds, role: 5})) for role in seeds]
    assert len({BASE.run_id(Seeds(**seeds)), *ids}) == 5
    assert job_of().runs[0].id != BASE.run_id(seeds_of(0))


def test_replicates_have_seeds_in_a_row_and_a_pinned_stream_its_own() -> None:
    seeds = [run.seeds for run in job_of("seed=7", "n_replicates=3", "streams.split=0").runs]
    assert [(s.seed, s.init, s.split, s.order) for s in seeds] == [(7, 7, 0, 7), (8, 8, 0, 8), (9, 9, 0, 9)]


# Streams


def draw(seed: int, role: Role) -> tuple[float, ...]:
    return tuple(torch.rand(4, generator=stream(seed, role)).tolist())


def test_a_stream_is_a_function_of_seed_and_role_alone() -> None:
    seeds = [0, 1, 2, 3, 1000, MAX_SEED]
    first = {(seed, role): draw(seed, role) for seed in seeds for role in Role}
    torch.rand(5)
    again = {(seed, role): draw(seed, role) for role in reversed(Role) for seed in reversed(seeds)}
    assert first == again
    assert len(set(first.values())) == len(seeds) * len(Role)
