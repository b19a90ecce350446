"""Every option of every group in conf/: found, composed, checked, built and trained for an epoch or two."""

import math
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import OmegaConf
from pima_hp.composition import groups, register_resolvers
from pima_hp.jobs import ComposedJobs
from pima_hp.request import Request
from pima_hp.session import requests_of
from pima_hp.sweeping import expand
from pima_hp.training.engines import train_stack
from pima_hp.training.schedule import stacks_of

from pima_hp.commands.study import label_of
from pima_hp.config.options import CONF, options
from pima_hp.training.checks import component_problems
from pima_hp.training.loggers import loggers_of
from pima_hp.training.solo import fit_solo
from tests.conftest import ROOT, job_of
from tests.data.conftest import given

FILES = sorted(path for path in CONF.rglob("*.yaml") if path != CONF / "config.yaml")
DEFAULTS = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))["defaults"]  # type: ignore[index, call-overload]
TRAINED = [name for entry in DEFAULTS if isinstance(entry, dict) for name in entry if name in groups()]
TRAINED.remove("experiment")
ELSEWHERE = {"claim": ROOT / "tests" / "analysis"}  # a group whose options are no part of a run -> its tests


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_no_yaml_is_out_of_reach(path: Path) -> None:
    group = path.parent.relative_to(CONF).as_posix()
    assert group in [*TRAINED, "experiment"] or ELSEWHERE[group].is_dir()
    assert path.stem in options(group)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", path.stem), "Hydra reads an option called 16 as a number"
    for key, value in OmegaConf.to_container(OmegaConf.load(path)).items():  # type: ignore[union-attr]
        looks_like_number = isinstance(value, str) and re.fullmatch(r"[-+\d.]+e[-+\d]+", value)
        assert not looks_like_number, f"{key}: a float without its dot is a word in YAML"


@pytest.mark.parametrize("choice", [f"{group}={option}" for group in TRAINED for option in options(group)])
def test_an_option_is_composed_checked_built_and_trained(choice: str, tmp_path: Path) -> None:
    n_epochs = 1 if choice == "batch=online" else 2
    request = job_of(*given(choice), f"trainer.max_epochs={n_epochs}", f"outputs={tmp_path}")
    problems = component_problems(request.config)
    if request.config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        assert problems == ["trainer.accelerator: gpu needs a CUDA device; found none; allowed here: auto, cpu"]
        return
    assert problems == []
    run = request.runs[0]
    loggers = loggers_of("run", request.folder, request.logger)
    record, module = fit_solo(run.config, run.seeds, loggers=loggers, **request.debug.trainer_options)
    cut = {"fast_dev_run", "overfit_batches"} & set(request.debug.trainer_options)
    assert record.status == ("stopped early" if cut else "completed"), record.message
    assert all(math.isfinite(score) for score in record.scores.values())
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
    assert len(record.curves.val_loss) == n_epochs
    written = {path.parent.parent.name for path in request.folder.rglob("*") if path.is_file()}
    wanted = {name for name in ("tensorboard", "csv") if getattr(request.logger, name)}
    assert written == (set() if request.debug.fast_dev_run else wanted)


@cache
def jobs_of(experiment: str) -> tuple[list[Request], list[str], dict[str, object]]:
    """The jobs of an experiment as the sweeper composes them, their labels, and the sweep's own settings."""
    register_resolvers()
    Plugins.instance()
    loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))
    own = [f"experiment={experiment}", "trainer.max_epochs=1"]
    master = loader.load_configuration("config", overrides=own, run_mode=RunMode.MULTIRUN)
    jobs, swept = expand(own, master.hydra.sweeper.grids, loader, master.hydra.sweeper.limit)
    requests = requests_of(ComposedJobs(loader, master).get_all(jobs))
    settings = OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml"))
    assert isinstance(settings, dict)
    return requests, [label_of(request, swept) for request in requests], settings  # type: ignore[return-value]


@pytest.mark.parametrize("experiment", options("experiment"))
def test_an_experiment_is_expanded_and_each_of_its_jobs_can_be_trained(experiment: str) -> None:
    requests, labels, settings = jobs_of(experiment)
    assert settings["study"] == experiment == requests[0].folder.name
    assert settings["hydra"]["mode"] == "MULTIRUN"  # type: ignore[index]
    assert len({request.config.id for request in requests}) > 1
    assert len(set(labels)) == len({request.config.id for request in requests})
    runs = [run for request in requests for run in request.runs]
    stacks, alone = stacks_of(runs, together=True)
    assert sum(map(len, stacks)) + len(alone) == len(runs)
    records = train_stack(stacks[0]) if stacks else [fit_solo(alone[0].config, alone[0].seeds)[0]]
    assert {record.status for record in records} == {"completed"}


def test_the_article_is_the_union_of_its_three_studies() -> None:
    ids = {name: {r.config.id for r in jobs_of(name)[0]} for name in options("experiment")}
    assert ids["article"] == ids["batch_size"] | ids["activation"] | ids["optimizer"]
    assert len(ids["article"]) == 11
    (baseline,) = ids["batch_size"] & ids["activation"] & ids["optimizer"]
    assert baseline == job_of("trainer.max_epochs=1").config.id


def test_the_baseline_is_what_config_yaml_says_it_is() -> None:
    configuration = job_of().config
    assert configuration.optimizer.target == "torch.optim.RMSprop"
    assert configuration.optimizer.arguments == {
        "lr": 0.001, "alpha": 0.9, "eps": 1e-7, "momentum": 0.0, "weight_decay": 0.0
    }  # fmt: skip
    assert (configuration.batch.size, configuration.batch.shuffle) == (10, False)
    assert configuration.activation.name == "relu"
    assert configuration.trainer.max_epochs == 100
    assert (configuration.model.hidden_widths, configuration.model.initialization) == ([12, 8], "uniform")
    assert job_of("activation=leaky_relu").config.activation.arguments == {"negative_slope": 0.3}
