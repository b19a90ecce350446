"""Jobs are composed by a short cut, and must be what Hydra itself would have composed."""

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from pima_hp.commands.compose import ComposedJobs
from pima_hp.config.options import CONF
from pima_hp.errors import ConfigurationError

COMMANDS = [
    ["optimizer=adam", "optimizer.lr=0.1", "batch.size=5"],
    ["optimizer.lr=0.1", "optimizer=adam", "seed=3"],
    ["+optimizer.amsgrad=true", "optimizer=adam"],
    ["++optimizer.eps=1e-3", "activation=leaky_relu", "activation.negative_slope=0.1"],
    ["data=csv", "data.path='a b,c.csv'", "data.features=[a,'b c']", "model.hidden_widths=[3,4]"],
    ["~optimizer.momentum", "optimizer=sgd"],
    ["scheduler=cosine", "trainer.max_epochs=7", "streams.split=0"],
    ["batch=b5", "batch.size=full", "study=x"],
    ["seed=1", "seed=2"],
    [],
]


@pytest.fixture
def composed() -> ComposedJobs:
    Plugins.instance()
    loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))
    return ComposedJobs(loader, loader.load_configuration("config", ["study=s"], RunMode.MULTIRUN))


def test_a_job_is_what_hydra_composes(composed: ComposedJobs) -> None:
    for overrides in COMMANDS + COMMANDS[::-1]:
        (mine,) = composed.get_all([overrides])
        hydras = composed.config_loader.load_sweep_config(composed.master, overrides)
        for config in (mine, hydras):
            OmegaConf.set_readonly(config.hydra, value=False)
            config.hydra.job.num, config.hydra.job.id = 0, "0"
        found, expected = (OmegaConf.to_container(config, resolve=False) for config in (mine, hydras))
        assert found == expected, overrides
        assert OmegaConf.to_container(mine.optimizer) == OmegaConf.to_container(hydras.optimizer)
        assert mine.hydra.job.override_dirname == hydras.hydra.job.override_dirname


def test_jobs_share_nothing(composed: ComposedJobs) -> None:
    one, other = composed.get_all([[f"seed={n}", f"model.hidden_widths=[{n}]"] for n in (3, 4)])
    one.model.hidden_widths.append(9)
    assert (one.seed, other.seed, list(other.model.hidden_widths)) == (3, 4, [4])
    (third,) = composed.get_all([["seed=3"]])
    assert list(third.model.hidden_widths) == [12, 8]


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["lrr=1"], "Could not override 'lrr'"),
        (["optimizer=adm"], "optimizer: must be one of adagrad, "),
        (["+optimizer.lr=1"], "Could not append to config"),
        (["~optimizer.nothing"], ""),
        (["trainer.max_epochs.deeper=1"], ""),
    ],
)
def test_what_hydra_refuses_is_refused(composed: ComposedJobs, overrides: list[str], problem: str) -> None:
    with pytest.raises(HydraException):
        composed.config_loader.load_sweep_config(composed.master, overrides)
    with pytest.raises(ConfigurationError) as caught:
        composed.get_all([overrides])
    (line,) = caught.value.problems
    assert line.startswith(problem)
    assert line.isprintable()
