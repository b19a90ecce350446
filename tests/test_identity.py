"""Equal ids imply equal curves within one engine; different curves imply different ids; names follow from the content.

Random configurations over every option of `conf/` and many arguments, each in other spellings and with one setting
changed, all trained. The seed is printed; `PIMA_HP_TEST_SEED=<seed>` repeats it.
"""

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from pima_hp.commands.job import parse
from pima_hp.config import Config
from pima_hp.config.options import NAMED_SECTIONS, options
from pima_hp.data.table import SHIPPED
from pima_hp.errors import ConfigurationError
from pima_hp.run import CURVES, Results, Run
from pima_hp.training.checks import component_problems
from pima_hp.training.dispatch import stacks_of, why_not
from tests.conftest import Settings, job_of, seeds_of, settings_of
from tests.random_configurations import Rng, one_of, settings
from tests.training.conftest import alone, together

N_DRAWS = [3, pytest.param(30, marks=pytest.mark.slow)]
_ABSENT = object()
SECTIONS = ("data", "model", *NAMED_SECTIONS, "batch", "trainer")


def spelled_otherwise(rng: Rng, given: Settings, copy: str) -> Settings:
    """The same configuration in other words."""
    other = deepcopy(given)
    other["data"]["path"] = copy
    other["engine"] = {"name": one_of("auto", "stacked", "solo")(rng), "stack_size": int(rng.integers(2, 600))}
    for section in NAMED_SECTIONS:
        items = [(key, _whole(rng, value)) for key, value in other[section].items()]
        rng.shuffle(items)
        other[section] = dict(items)
    return other


def _whole(rng: Rng, value: Any) -> Any:
    """1 for 1.0, -0.0 for 0."""
    if isinstance(value, list):
        return [_whole(rng, item) for item in value]
    if not isinstance(value, float) or not value.is_integer():
        return value
    return -0.0 if value == 0 and rng.random() < 0.5 else one_of(int, float)(rng)(value)


def allowed(make: Callable[[], Settings]) -> Settings:
    """The first configuration that is allowed."""
    while True:
        made = make()
        with suppress(ConfigurationError):  # a batch larger than a small split, two fractions that are 1 together
            if not component_problems(parse(OmegaConf.create(made)).config):  # nesterov without momentum
                return made


def with_a_change(rng: Rng, given: Settings, path: str) -> Settings:
    """The configuration with one setting, or one section, as another draw has it."""
    other, changed = settings(rng, path, int(given["trainer"]["precision"][:2])), deepcopy(given)
    section = str(rng.choice(SECTIONS))
    kept = [key for key in given[section] if key in other[section] and given[section][key] != other[section][key]]
    if given[section].get("_target_") == other[section].get("_target_") and kept:
        key = str(rng.choice(kept))
        changed[section][key] = other[section][key]
    else:
        changed[section] = other[section]
    return changed


def name_of(section: str, content: dict[str, Any]) -> str:
    """The name that a content must have, found by trying each option as Hydra composes it."""
    best: dict[str, int] = {}
    for option in options(section):
        composed = settings_of(f"{section}={option}")[section]
        if composed["_target_"] == content["_target_"]:
            best[option] = sum(content.get(key, _ABSENT) != composed.get(key, _ABSENT) for key in {*content, *composed})
    return min(sorted(best), key=best.__getitem__)


def trained(runs: Sequence[Run], engine: str) -> list[Results]:
    """Train runs with one engine, as many together as may be; those that it does not know are left out."""
    wanted = [run for run in runs if engine == "solo" or not why_not(engine, run.config)]
    if engine == "solo":
        return [alone(run) for run in wanted]
    stacks = stacks_of(wanted, engine=engine, together=True)
    return [one for _, stack in stacks for one in together(stack, engine)]


def bits(one: Results) -> bytes:
    return b"".join(one.curves[key].tobytes() for key in CURVES)


@pytest.mark.parametrize("n_draws", N_DRAWS)
def test_equal_ids_mean_equal_curves_and_a_name_is_that_of_the_content(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], n_draws: int
) -> None:
    seed = int(os.environ.get("PIMA_HP_TEST_SEED") or secrets.randbelow(10**9))
    with capfd.disabled():
        sys.stderr.write(f"\nidentity: PIMA_HP_TEST_SEED={seed}\n")
    rng = np.random.default_rng(seed)
    path, copy = str(tmp_path / "short.csv"), str(tmp_path / "copy.csv")
    rows = SHIPPED.read_text(encoding="utf-8").splitlines(keepends=True)
    Path(path).write_text("".join(rows[:81]), encoding="utf-8")
    shutil.copy(path, copy)
    first: list[Run] = []
    again: list[Run] = []
    for _ in range(n_draws):
        given = allowed(lambda: settings(rng, path, one_of(32, 64)(rng)))
        seeds = seeds_of(int(rng.integers(2**32)))
        changed = [allowed(lambda given=given: with_a_change(rng, given, path)) for _ in range(2)]  # type: ignore[misc]
        for job in (given, *changed):
            configuration, other = (
                parse(OmegaConf.create(each)).config for each in (job, spelled_otherwise(rng, job, copy))
            )
            assert component_problems(configuration) == []
            assert configuration.id == other.id, f"PIMA_HP_TEST_SEED={seed}: {configuration} {other}"
            for section in NAMED_SECTIONS:
                content = configuration.model_dump(by_alias=True)[section]
                assert configuration.flat[section] == name_of(section, content), f"PIMA_HP_TEST_SEED={seed}: {content}"
            text = json.dumps(other.model_dump(by_alias=True))
            assert Config.model_validate(json.loads(text)).id == configuration.id
            first.append(Run(configuration, seeds))
            again.append(Run(other, seeds))
    rng.shuffle(again)  # type: ignore[arg-type] -- a list: other stacks, in another order
    curves: dict[tuple[str, str], bytes] = {}
    n_trained = 0
    for engine in ("solo", "stacked", "fused"):
        for one in trained(first, engine) + trained(again, engine):
            (run,) = one.runs
            known = curves.setdefault((engine, run.id), bits(one))
            assert known == bits(one), f"PIMA_HP_TEST_SEED={seed}, {engine}: {run.config}"
            n_trained += 1
    assert n_trained >= 2 * len(curves) >= 3 * n_draws, "each id is trained twice"
    assert len({(engine, curve) for (engine, _), curve in curves.items()}) >= len(curves) / 2, "most change the curves"


@pytest.mark.parametrize("section", NAMED_SECTIONS)
def test_values_of_different_kinds_are_different(section: str) -> None:
    settings_of_base = job_of("scheduler=step").config.model_dump(by_alias=True)
    values: list[Any] = [1, True, "1", [1.0], [1.0, 1.0], 0, False, "0", "", 1e300, 2**53, 2**53 + 2, 0.1, 0.1 + 2e-17]
    ids = set()
    for value in values:
        settings = deepcopy(settings_of_base)
        settings[section]["extra"] = value
        ids.add(Config.model_validate(settings).id)
    assert len(ids) == len(values)
