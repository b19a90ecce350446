"""Every option of every group in conf/: found, composed, checked, built and trained for an epoch or two."""

import math
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import OmegaConf

from pima_hp.commands import CONFIG_PATH
from pima_hp.commands.compose import ComposedJobs, expand, swept_keys
from pima_hp.commands.job import Job, checked
from pima_hp.commands.solo import train_solo
from pima_hp.commands.study import planned
from pima_hp.config.options import CONF, options
from pima_hp.run import Run
from pima_hp.training.checks import component_problems
from pima_hp.training.dispatch import stacks_of
from pima_hp.training.fused import engine as fused
from tests.conftest import ROOT, job_of
from tests.data.conftest import given

FILES = sorted(path for path in CONF.rglob("*.yaml") if path != CONF / "config.yaml")
DEFAULTS = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml"))["defaults"]  # type: ignore[index, call-overload]
TRAINED = [name for entry in DEFAULTS if isinstance(entry, dict) for name in entry if (CONF / name).is_dir()]
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


NEEDS_A_PACKAGE = {"logger=wandb": "wandb", "logger=mlflow": "mlflow"}


@pytest.mark.parametrize("choice", [f"{group}={option}" for group in TRAINED for option in options(group)])
def test_an_option_is_composed_checked_built_and_trained(choice: str, tmp_path: Path) -> None:
    n_epochs = 1 if choice == "batch=online" else 2
    job = job_of(*given(choice), f"trainer.max_epochs={n_epochs}", f"outputs={tmp_path}")
    groups = {"callbacks": job.settings.callbacks, "logger": job.settings.logger}
    problems = component_problems(job.config, groups, job.folder)
    if job.config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        assert problems == ["trainer.accelerator: gpu needs a CUDA device; found none; allowed here: auto, cpu"]
        return
    if package := NEEDS_A_PACKAGE.get(choice):
        told = f"{choice.replace('=', '.')}: needs a package that is not installed: pip install {package}"
        assert problems in ([], [told])
        return
    assert problems == []
    (run,) = job.runs
    results, module = train_solo(job, run, "name")
    cut = job.config.trainer.arguments.get("fast_dev_run", False)
    assert results.status == ["stopped early" if cut else "completed"], results.message
    assert all(math.isfinite(score[0]) for score in results.scores.values())
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
    assert results.curves["val/loss"].shape == (1, n_epochs)
    written = {path.relative_to(job.folder).parts[0] for path in job.folder.rglob("*") if path.is_file()}
    wanted = {*job.settings.logger, *(["checkpoints"] if "model_checkpoint" in job.settings.callbacks else [])}
    assert written == (set() if job.settings.debug else wanted)


@cache
def jobs_of(experiment: str, most: int = 250) -> tuple[list[Job], list[str], dict[str, Any]]:
    """The jobs of an experiment as the sweeper composes them, their labels, and the sweep's own settings.

    Of more than `most` jobs, every seventh, which has all values of all settings.
    """
    # Not beside studies of the checkout; one run a configuration, for those that say how many they need.
    own = [f"experiment={experiment}", "outputs=nowhere", "n_replicates=1"]
    with initialize_config_dir(CONFIG_PATH, version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("config", overrides=own, run_mode=RunMode.MULTIRUN)
        jobs = expand(own, master.hydra.sweeper.grids, loader, master.hydra.sweeper.limit)
        part = jobs[:: 7 if len(jobs) > most else 1]
        found = checked(ComposedJobs(loader, master).get_all(part))
    settings: Any = OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml"))
    return found, list(planned(found, swept_keys(jobs), write=False).labels.values()), settings


def shortened(run: Run) -> Run:
    trainer = run.config.trainer.model_copy(update={"max_epochs": 1})
    return replace(run, config=run.config.model_copy(update={"trainer": trainer}))


@pytest.mark.parametrize("most", [250, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("experiment", options("experiment"))
def test_an_experiment_is_expanded_and_each_of_its_jobs_can_be_trained(experiment: str, most: int) -> None:
    jobs, labels, settings = jobs_of(experiment, most)
    # article_full adds runs to the study of article.
    assert settings["study"] == experiment.removesuffix("_full") == jobs[0].folder.name
    assert settings["hydra"]["mode"] == "MULTIRUN"
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8")
    if n_replicates := settings.get("n_replicates"):  # it says how many runs it trains, and by which command
        assert f"\n# pima-hp-train -m experiment={experiment} report=true" in text
        n_runs = len({run.id for job in jobs for run in job.runs}) * int(n_replicates)
        (told,) = (int(number.replace(",", "")) for number in re.findall(r"([\d,]+) runs\.\n", text))
        assert told == n_runs or math.ceil(told / 7 / int(n_replicates)) == len(jobs) > most / 7
    ids = {job.config.id for job in jobs}
    assert len(ids) > 1
    assert len(set(labels)) == len(ids)
    runs = [job.runs[0] for job in jobs]
    stacks = stacks_of(runs, together=True)
    assert {engine for engine, _ in stacks} == {"fused"}
    assert sum(len(stack) for _, stack in stacks) == len(runs)
    assert set(fused.fit_stack([*map(shortened, stacks[0][1])]).status) == {"completed"}


def test_the_article_is_the_union_of_its_three_studies() -> None:
    names = ("article", "batch_size", "activation", "optimizer", "article_full")
    ids = {name: {job.config.id for job in jobs_of(name)[0]} for name in names}
    assert ids["article"] == ids["batch_size"] | ids["activation"] | ids["optimizer"]
    assert len(ids["article"]) == 11
    assert ids["article"] < ids["article_full"]
    (baseline,) = ids["batch_size"] & ids["activation"] & ids["optimizer"]
    assert baseline == job_of().config.id


def test_the_baseline_is_what_config_yaml_says_it_is() -> None:
    configuration = job_of().config
    assert configuration.optimizer.target == "torch.optim.RMSprop"
    assert configuration.optimizer.arguments == {
        "lr": 0.001, "alpha": 0.9, "eps": 1e-7, "momentum": 0.0, "weight_decay": 0.0
    }  # fmt: skip
    assert (configuration.batch.size, configuration.batch.shuffle) == (10, False)
    assert configuration.flat["activation"] == "relu"
    assert configuration.trainer.max_epochs == 100
    assert (configuration.model.hidden_widths, configuration.model.initialization) == ([12, 8], "uniform")
    assert job_of("activation=leaky_relu").config.activation.arguments == {"negative_slope": 0.3}
