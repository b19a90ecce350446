"""Settings: what is refused (FAULTS, D2 to D6), and the identity of a configuration and of a run."""

import math
import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from pima_hp.commands.job import parse
from pima_hp.config import MAX_SEED, Config, Seeds
from pima_hp.config.options import CONF, options
from pima_hp.data.table import SHIPPED
from pima_hp.errors import ConfigurationError, InputError
from pima_hp.seeds import Role, stream
from tests.conftest import Settings, job_of, seeds_of, settings_of

COMPONENTS = ("activation", "optimizer", "scheduler")
NO_NUMBERS: list[Any] = [math.nan, math.inf, -math.inf, float("1e400"), "word", True, {"a": 1}]


def problems_of(settings: Settings) -> list[str]:
    """The lines of a refusal."""
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


def leaves(settings: Settings) -> dict[str, Any]:
    """Dotted keys of the settings outside callbacks and loggers, and their values."""
    flat = {key: value for key, value in settings.items() if not isinstance(value, dict)}
    for section, content in settings.items():
        if isinstance(content, dict) and section not in ("callbacks", "logger"):
            flat |= {f"{section}.{name}": value for name, value in content.items()}
    return flat


def hyperparameters() -> Iterator[tuple[str, str]]:
    """Each option and each of its numbers."""
    for group in COMPONENTS:
        for option in options(group):
            for name, value in OmegaConf.to_container(OmegaConf.load(CONF / group / f"{option}.yaml")).items():
                if name != "defaults" and (str(value).startswith("${") or type(value) in (int, float, list)):
                    yield f"{group}={option}", f"{group}.{name}"


SETTINGS = leaves(settings_of())
FREE = ("run_name", "run_id", "command", "optimizer._partial_")  # internal ones, and words of Hydra
NUMBERS = [key for key, value in SETTINGS.items() if type(value) in (int, float) and key != "trainer.devices"]
WRONG: dict[type, list[Any]] = {
    int: ["word", 1.5, [1], {"a": 1}, True, None],
    float: ["word", [1], {"a": 1}, True, None],
    bool: ["word", 1, 0.0, [True], None],
    str: [1, 1.5, True, ["word"], {"a": 1}],
    list: ["word", 1, {"a": 1}, [{"a": 1}]],
    type(None): [1.5, [1.5]],
}


def test_all_settings_are_found() -> None:
    assert {"trainer.max_epochs", "data.test_fraction", "batch.size", "seed", "n_replicates"} <= set(NUMBERS)
    assert {"optimizer=adam", "scheduler=plateau_half", "activation=leaky_relu"} <= {
        one for one, _ in hyperparameters()
    }


@pytest.mark.parametrize("key", sorted(SETTINGS.keys() - FREE - {"trainer.precision", "trainer.devices"}))
def test_d2_another_type_is_refused(key: str) -> None:
    null_is_default = key.partition(".")[0] in ("optimizer", "trainer") or key.endswith("_target_")
    for value in WRONG[type(SETTINGS[key])]:
        if not (value is None and null_is_default):
            problems = problems_of(changed(key, value))
            assert any(line.startswith(key) for line in problems), (value, problems)


@pytest.mark.parametrize("key", NUMBERS)
def test_d3_a_number_out_of_range_is_refused(key: str) -> None:
    for value in (*NO_NUMBERS, -1, 2**63):
        if not (key.startswith("optimizer.") and value == 2**63):  # a learning rate, if a bad one
            problems = problems_of(changed(key, value))
            assert any(line.startswith(key) and "must" in line and "found" in line for line in problems), problems


@pytest.mark.parametrize(("choice", "key"), list(hyperparameters()), ids=lambda text: text)
def test_d3_a_hyperparameter_must_be_a_finite_number(choice: str, key: str) -> None:
    group, _, name = key.partition(".")
    now = settings_of(choice)[group][name]
    bad = [math.nan, math.inf, -math.inf, {"_target_": "os.system"}] if group == "activation" else [*NO_NUMBERS, -1]
    for value in bad:
        problems = problems_of(changed(key, [value, value] if isinstance(now, list) else value, choice))
        assert any(line.startswith(key) and "must" in line for line in problems), (value, problems)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("batch.size=615", "batch.size: must be from 1 to the 614 training rows, or full; found 615"),
        ("batch.size=half", "batch.size: must be a whole number from 1"),
        ("data.val_fraction=1", "data.val_fraction: must be less than 1; found 1"),
        ("data.test_fraction=0.999", "data: the split must leave at least 2 training rows; found 0 of 768 rows"),
        ("model.hidden_widths=[12,0]", "model.hidden_widths.1: must be greater than or equal to 1; found 0"),
        ("model.hidden_widths=[]", "model.hidden_widths: "),
        ("trainer.precision=16", "trainer.precision: must be '32-true', '64-true', "),
        ("+trainer.strategy=ddp", "trainer.strategy: must be 'auto'; found 'ddp'"),
        ("+trainer.logger=true", "trainer.logger: must be None; found True"),
        ("+trainer.limit_train_batches=0", "trainer.limit_train_batches"),
        (f"seed={MAX_SEED + 1}", f"seed: must be less than or equal to {MAX_SEED}; found {MAX_SEED + 1}"),
        ("optimizer.alpha=1", "optimizer.alpha: must be less than 1; found 1"),
        ("model.initialization=unifrm", "model.initialization: must be 'uniform', "),
        ("data.scaling=standart", "data.scaling: must be 'none', 'standard' or 'minmax'; found 'standart'"),
        ("study=../elsewhere", "study: "),
        ("export=../x", "export: "),
        ("+foo=1", "foo: "),
        ("+engine.nam=solo", "engine.nam: "),
        ("+optimizer._args_=[1]", "optimizer: only _target_ may begin with _; found _args_"),
        ("optimizer._partial_=false", "optimizer: only _target_ may begin with _; found _partial_"),
        ("+optimizer.differentiable=true", "optimizer.differentiable: must be False"),
        ("+model.foo=1", "model.foo: no such setting"),
        ("+scheduler.gamma=0.5", "scheduler: must have a _target_ to take arguments"),
    ],
)
def test_d4_d5_d6_the_key_and_what_is_allowed_are_named(override: str, expected: str) -> None:
    (problem,) = problems_of(settings_of(override))
    assert problem.startswith(expected)


def test_a_label_must_be_a_column_and_the_last_replicate_must_have_a_seed() -> None:
    with pytest.raises(InputError, match="'outcom'"):
        job_of("data.label=outcom")
    (problem,) = problems_of(settings_of(f"seed={MAX_SEED}", "n_replicates=2"))
    assert problem.startswith("n_replicates: the last seed must be at most")


def test_all_problems_are_found_at_once_each_in_one_line() -> None:
    overrides = ["trainer.max_epochs=0", "optimizer.lr=-1", "batch.size=0", "data.scaling=x", "seed=-1"]
    keys = [problem.partition(":")[0] for problem in problems_of(settings_of(*overrides))]
    assert sorted(keys) == ["batch.size", "data.scaling", "optimizer.lr", "seed", "trainer.max_epochs"]


def test_a_hostile_value_is_shown_escaped_and_cut() -> None:
    (problem,) = problems_of(changed("data.scaling", "\x1b[31m\n" + "x" * 10_000))
    assert "\\x1b[31m\\n" in problem


# Identity


def config_id(overrides: str = "") -> str:
    return job_of(*overrides.split()).config.id


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("", "1fd75d91f37e6e21"),
        ("data=pima_honest", "e02cc97c7cc2aafb"),
        ("activation=softplus", "c70599b895c677e2"),
        ("optimizer=adam", "22a68225722446bd"),
        ("optimizer=sgd_momentum", "fb08c45ab8fffc41"),
        ("scheduler=plateau_half", "8918b41d38d177b2"),
        ("batch=full", "42df520a5f602d2a"),
        ("callbacks=early_stopping", "6dde56ca62313a06"),
        ("+trainer.gradient_clip_val=1.0", "75dd4daa0c85b5a9"),
        ("trainer.precision=64", "301336ce6f291c54"),
        ("model.hidden_widths=[3,4,5] model.initialization=he_normal", "af1e4a3062837300"),
        ("activation._target_=torch.nn.CELU", "17f066f81b9aec41"),
    ],
)
def test_ids_are_those_of_earlier_releases(overrides: str, expected: str) -> None:
    assert config_id(overrides) == expected


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
        ("+trainer.check_val_every_n_epoch=1 +trainer.strategy=auto trainer.devices=auto", ""),
        ("logger=both debug=profiler outputs=x study=y dry_run=true", ""),
        ("data=pima_standardized", "data.scaling=standard"),
    ],
)
def test_two_spellings_have_one_id(one: str, other: str) -> None:
    assert config_id(one) == config_id(other)


def test_the_same_table_under_another_path_is_the_same_data(tmp_path: Path) -> None:
    copy = shutil.copy(SHIPPED, tmp_path / "copy.csv")
    assert config_id(f"data.path={copy}") == config_id()
    rows = SHIPPED.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "other.csv").write_text("".join(rows[:-1]), encoding="utf-8")
    assert config_id(f"data.path={tmp_path / 'other.csv'}") != config_id()


BASE = job_of("optimizer=adam", "activation=leaky_relu", "scheduler=plateau_half", "diagnostics=initialization").config
OTHER: dict[str, Any] = {
    "path": "elsewhere.csv", "label": "age", "missing": "median", "scaling": "minmax", "features": ["age"],
    "zero_is_missing": ["bmi"], "hidden_widths": [12, 9], "initialization": "he_normal", "precision": "64-true",
    "accelerator": "gpu", "devices": "auto", "monitor": "train/loss", "threshold_mode": "rel", "betas": [0.8, 0.999],
    "name": "epochs", "curvature": [0],
}  # fmt: skip
NOT_IDENTITY = ("data.path", "trainer.accelerator", "trainer.devices", "diagnostics.name", "diagnostics.curvature")
OTHER_TARGETS = {"activation": "torch.nn.Tanh", "optimizer": "torch.optim.SGD"}


@pytest.mark.parametrize("key", [key for key in leaves(BASE.model_dump(by_alias=True)) if "." in key])
def test_the_id_changes_with_each_setting_that_decides_what_is_computed(key: str) -> None:
    settings = deepcopy(BASE.model_dump(by_alias=True))
    section, _, name = key.partition(".")
    value = settings[section][name]
    if name == "_target_":
        settings[section][name] = OTHER_TARGETS.get(section, "torch.optim.lr_scheduler.StepLR")
    elif isinstance(value, bool):
        settings[section][name] = not value
    else:
        settings[section][name] = OTHER[name] if name in OTHER else value + (1 if isinstance(value, int) else 0.125)
    other = Config.model_validate(settings)
    assert (other.id == BASE.id) is (key in NOT_IDENTITY)
    assert (other.flat == BASE.flat) is (key in NOT_IDENTITY[1:])


def test_a_run_id_depends_on_the_configuration_and_on_each_seed() -> None:
    seeds = {"seed": 1, "init": 2, "split": 3, "order": 4}
    ids = [BASE.run_id(Seeds(**{**seeds, role: 5})) for role in seeds]
    assert len({BASE.run_id(Seeds(**seeds)), *ids}) == 5
    assert job_of().runs[0].id != BASE.run_id(seeds_of(0))


def test_replicates_have_seeds_in_a_row_and_a_pinned_stream_its_own() -> None:
    seeds = [run.seeds for run in job_of("seed=7", "n_replicates=3", "streams.split=0").runs]
    assert [(s.seed, s.init, s.split, s.order) for s in seeds] == [(7, 7, 0, 7), (8, 8, 0, 8), (9, 9, 0, 9)]


def test_a_stream_is_a_function_of_seed_and_role_alone() -> None:
    seeds = [0, 1, 2, 3, 1000, MAX_SEED]
    roles = [(seed, role) for seed in seeds for role in Role]

    def drawn(order: list[tuple[int, Role]]) -> dict[tuple[int, Role], tuple[float, ...]]:
        return {(seed, role): tuple(torch.rand(4, generator=stream(seed, role)).tolist()) for seed, role in order}

    first = drawn(roles)
    torch.rand(5)
    assert first == drawn(roles[::-1])
    assert len(set(first.values())) == len(roles)
