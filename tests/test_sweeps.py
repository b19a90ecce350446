"""What may be swept: evenly spaced values, settings that vary together, and crossed streams."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser

import pima_hp
from pima_hp.commands.compose import expand, swept_keys
from pima_hp.config.options import CONF
from pima_hp.ledger.ledger import distinct
from tests.conftest import Command, job_of


def texts(override: str) -> list[str]:
    (one,) = OverridesParser.create().parse_overrides([override])
    return [*one.sweep_string_iterator()]


@pytest.mark.parametrize(("first", "last", "n"), [(1e-4, 1, 9), (1, 512, 10), (3e-5, 0.7, 100), (0.1, 0.001, 2)])
def test_values_are_evenly_spaced_with_both_ends_and_round_ones_stay_round(first: float, last: float, n: int) -> None:
    on_a_line, on_a_log_line = (
        [*map(float, texts(f"+a.b={name}({first}, {last},{n})"))] for name in ("linspace", "logspace")
    )
    assert on_a_line == pytest.approx(np.linspace(first, last, n), rel=1e-5)  # six digits
    assert on_a_log_line == pytest.approx(np.geomspace(first, last, n), rel=1e-5)
    for values in (on_a_line, on_a_log_line):
        assert (values[0], values[-1]) == (first, last)
    assert all(len(f"{value:g}") >= len(f"{value}".removesuffix(".0")) for value in [*on_a_line, *on_a_log_line])


def test_equal_values_of_two_grids_have_equal_texts_and_so_equal_ids() -> None:
    coarse, fine = (texts(f"lr=logspace(1e-5,1,{n})") for n in (6, 51))
    assert coarse == ["1e-05", "0.0001", "0.001", "0.01", "0.1", "1"]
    assert set(coarse) <= set(fine)
    assert job_of(f"optimizer.lr={coarse[2]}").config.id == job_of().config.id


TOGETHER = {"batch.size, optimizer.lr": [[5, 0.1], [10, 0.2]], "model.hidden_widths, seed": [[[3, 4], 7], [[5], 8]]}


@pytest.mark.parametrize(
    ("own", "wanted"),
    [
        ([], itertools.product(["5 0.1", "10 0.2"], ["[3,4] 7", "[5] 8"])),
        (["batch.size=64"], itertools.product(["64 0.1", "64 0.2"], ["[3,4] 7", "[5] 8"])),
        (["seed=1", "model.hidden_widths=[2]"], [("5 0.1", "[2] 1"), ("10 0.2", "[2] 1")]),
    ],
)
def test_settings_vary_together_where_a_grid_joins_them(own: list[str], wanted: list[tuple[str, str]]) -> None:
    loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))
    jobs = expand(own, [TOGETHER], loader, 10)
    found = [dict(override.split("=") for override in job) for job in jobs]
    pairs = [tuple(" ".join(job[key] for key in names.split(", ")) for names in TOGETHER) for job in found]
    assert pairs == [*wanted]
    overridden = [override.partition("=")[0] for override in own]
    assert {*swept_keys(jobs)} == {key for names in TOGETHER for key in names.split(", ")} - {*overridden}


def test_a_row_may_sweep_one_of_its_settings() -> None:
    loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))
    jobs = expand([], [{"batch.size, seed": [[5, "0,1"], [10, 2]]}], loader, 10)
    assert jobs == [("batch.size=5", "seed=0"), ("batch.size=5", "seed=1"), ("batch.size=10", "seed=2")]


def test_evenly_spaced_values_and_ranges_stand_beside_others() -> None:
    loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))
    grid = {"optimizer.lr": [0.5, "logspace(0.001,0.1,3)"], "batch.size": "choice(linspace(8,24,2),32)"}
    jobs = expand(["seed=range(1,3),7"], [grid], loader, 99)
    seeds, rates, sizes = (
        sorted({float(line.partition("=")[2]) for line in lines}) for lines in zip(*jobs, strict=True)
    )
    assert (seeds, rates, sizes) == ([1, 2, 7], [0.001, 0.01, 0.1, 0.5], [8, 24, 32])
    assert len(jobs) == 3 * 4 * 3


def test_streams_with_several_seeds_are_crossed_with_each_other_and_with_replicates() -> None:
    runs = job_of("seed=7", "n_replicates=2", "streams.split=[0,1,5]", "streams.order=3").runs
    seeds = [(run.seeds.seed, run.seeds.init, run.seeds.split, run.seeds.order) for run in runs]
    assert seeds == [(seed, seed, split, 3) for seed in (7, 8) for split in (0, 1, 5)]
    assert len({run.id for run in runs}) == 6
    assert len({run.config.id for run in runs}) == 1
    assert job_of("seed=7", "streams.split=[0]").runs[0].id == job_of("seed=7", "streams.split=0").runs[0].id


def test_a_sweep_from_python_takes_spaced_values_and_crossed_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    crossed = ("streams.split=[0,1]", "streams.init=[0,1,2]", "streams.order=[0,4]", "batch.shuffle=true")
    quick = ("trainer.max_epochs=1", "batch=b32", "study=s")
    frame = pima_hp.sweep("optimizer.lr=logspace(1e-4,1,3)", *crossed, *quick, ckpt_path=None).frame
    assert sorted(set(frame["optimizer.lr"])) == [0.0001, 0.01, 1.0]
    assert len(distinct(frame)) == len(frame) == 3 * 2 * 3 * 2
    assert (
        frame.groupby("config_id")[["init_seed", "split_seed", "order_seed"]].nunique().values.tolist()
        == [[3, 2, 2]] * 3
    )
    same = frame[frame["split_seed"] == 1].groupby(["config_id", "init_seed", "order_seed"]).size()
    assert set(same) == {1}


def test_tab_completion_goes_on_after_quoted_values(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_LINE", "pima-hp-train -m 'optimizer.lr=logspace(1e-4,1,9)' activation=re")
    done = command("-sc", "query=bash")
    assert (done.code, done.out.split()) == (0, ["activation=relu"])
