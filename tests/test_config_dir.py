"""What files from `--config-dir` may do: add options and classes, but change nothing of Hydra's (FAULTS D11, D12)."""

import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from pima_hp.commands.compose import check_hydra_settings
from pima_hp.errors import ConfigurationError
from pima_hp.ledger import read_study
from tests.conftest import Command

QUICK = ("trainer.max_epochs=1", "batch=full", "study=s")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tmp_path / "mine"


def write(folder: Path, name: str, text: str) -> None:
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


FILE = "handlers: {file: {class: logging.FileHandler, filename: '../profile'}}"
OF_HYDRA = {
    "a log file anywhere": f"job_logging: {{{FILE}}}",
    "a log file of Hydra's own": f"hydra_logging: {{{FILE}}}",
    "a module through ext://": "job_logging: {handlers: {x: {class: 'ext://spy.Handler'}}}",
    "a handler by ()": "job_logging: {handlers: {x: {'()': spy.Handler}}}",
    "a callback": "callbacks: {x: {_target_: spy.Handler}}",
    "our callback gone": "callbacks: {study: null}",
    "a folder of a run": "run: {dir: ../elsewhere}",
    "a folder of a sweep": "sweep: {dir: ../elsewhere}",
    "a folder of the files of a job": "output_subdir: ../../../elsewhere",
    "the name of a log file": "job: {name: ../../../elsewhere}",
    "an environment": "job: {env_set: {PATH: /tmp}}",
    "a change of folder": "job: {chdir: true}",
    "a launcher of no plugin": "launcher: {_target_: spy.Handler}",
    "a class among grids": "{mode: MULTIRUN, sweeper: {grids: [{_target_: builtins.open, file: marker, mode: w}]}}",
    "a class deep in parameters": (
        "{mode: MULTIRUN, sweeper: {params: {seed: [{_target_: builtins.open, file: marker, mode: w}]}}}"
    ),
}
HOSTILE = {
    **{name: f"# @package _global_\nhydra:\n  {text}\n" for name, text in OF_HYDRA.items()},
    "relocated by a package": "# @package _global_.hydra.callbacks\nx: {_target_: spy.Handler}\n",
    "relocated by a default": "defaults: [/other@_global_.hydra.callbacks.x]\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("sweep", [(), ("-m", "seed=0,1")], ids=["run", "sweep"])
def test_a_file_changes_none_of_hydras_own_settings(
    command: Command, tmp_path: Path, mine: Path, text: str, sweep: tuple[str, ...]
) -> None:
    (tmp_path / "spy.py").write_text("import pathlib\npathlib.Path('marker').touch()\nclass Handler: ...\n")
    write(mine, "experiment/x", text)
    write(mine, "other", "_target_: spy.Handler\n")
    before = set(tmp_path.rglob("*"))
    done = command("--config-dir", str(mine), *sweep, "experiment=x", *QUICK)
    assert done.code == 2, done.err
    assert done.refusals
    assert set(tmp_path.rglob("*")) == before
    assert "spy" not in sys.modules


@pytest.mark.parametrize(
    "how",
    [
        ("--config-dir", "{mine}", "-m", "hydra/sweeper=grids", "experiment=x,y"),
        ("--config-dir", "{mine}", "-m", "hydra/sweeper=basic", "experiment=x,y"),
        ("hydra.searchpath=[file://{mine}]", "experiment=x"),
    ],
)
def test_a_swept_file_and_one_on_the_search_path_change_none_of_them_either(
    command: Command, tmp_path: Path, mine: Path, how: tuple[str, ...]
) -> None:
    write(mine, "experiment/x", HOSTILE["a log file anywhere"])
    write(mine, "experiment/y", "# @package _global_\nseed: 1\n")
    before = set(tmp_path.rglob("*"))
    done = command(*(argument.format(mine=mine) for argument in how), *QUICK)
    assert done.code == 2, done.err
    assert set(tmp_path.rglob("*")) == before


def test_a_search_path_is_not_set_by_a_file(command: Command, tmp_path: Path, mine: Path) -> None:
    package = tmp_path / "spied"
    package.mkdir()
    (package / "__init__.py").write_text("import pathlib\npathlib.Path('marker').touch()\n")
    write(mine, "primary", "defaults: [config, _self_]\nhydra:\n  searchpath: ['pkg://spied']\n")
    done = command("--config-dir", str(mine), "-cn", "primary", *QUICK)
    assert done.code == 2, done.err
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("launcher", "allowed"),
    [
        ({"_target_": "hydra_plugins.b.B", "n_jobs": 2, "folder": "${hydra.sweep.dir}/x"}, True),
        ({"_target_": "spy.Handler"}, False),
        ({"_target_": "hydra_plugins.b.B", "extra": [{"_target_": "spy.Handler"}]}, False),
        ({"_target_": "hydra_plugins.b.B", "extra": {"deep": {"_target_": "spy.Handler"}}}, False),
        ({"_target_": "hydra_plugins.b.B", "extra": {"deep": "${evil}"}}, False),
    ],
)
def test_a_file_may_choose_an_installed_launcher_but_no_class(launcher: dict[str, object], allowed: bool) -> None:
    own, found = (OmegaConf.create({"launcher": each}) for each in ({"_target_": "hydra_plugins.a.A"}, launcher))
    with nullcontext() if allowed else pytest.raises(ConfigurationError, match=r"hydra\.launcher"):
        check_hydra_settings(found, own)


def test_a_file_may_sweep_and_choose_an_installed_launcher(command: Command, tmp_path: Path, mine: Path) -> None:
    write(
        mine,
        "experiment/x",
        "# @package _global_\ndefaults: [override /hydra/launcher: basic]\nstudy: x\nhydra:\n  mode: MULTIRUN\n"
        "  sweeper:\n    grids:\n      - activation: [relu, tanh]\n",
    )
    done = command("--config-dir", str(mine), "experiment=x", "trainer.max_epochs=1", "batch=full")
    assert done.code == 0, done.err
    assert sorted(read_study(tmp_path / "outputs" / "x")["activation"]) == ["relu", "tanh"]


BOMBS = {
    "aliases": "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)),
    "a loop": "a: &a [*a]\n",
    "depth": "a: " + "[" * 3000 + "]" * 3000,
    "size": "a: " + "x" * 2**21,
    "a tag": "a: !!python/object/apply:os.system ['touch marker']\n",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_d11_a_yaml_that_grows_without_end_is_refused_at_once(
    command: Command, tmp_path: Path, mine: Path, text: str
) -> None:
    write(mine, "experiment/x", text)
    began = time.monotonic()
    done = command("--config-dir", str(mine), "experiment=x", *QUICK)
    assert done.code == 2
    assert len(done.refusals) == 1
    assert "must" in done.refusals[0]
    assert time.monotonic() - began < 5
    assert not (tmp_path / "outputs").exists()
    assert not (tmp_path / "marker").exists()


OWN_NET = """
import torch
class Net(torch.nn.Module):
    def __init__(self, n_features, width=4):
        super().__init__()
        hidden, out = torch.nn.Linear(n_features, width), torch.nn.Linear(width, 1)
        self.layers = torch.nn.Sequential(hidden, torch.nn.Tanh(), out)
    def forward(self, features):
        return self.layers(features).squeeze(-1)
"""


def test_an_own_network_is_trained_by_lightning_and_recorded(
    command: Command, tmp_path: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_net", raising=False)
    (tmp_path / "own_net.py").write_text(OWN_NET, encoding="utf-8")
    write(mine, "model/net", "_target_: own_net.Net\nwidth: 3\n")
    done = command("--config-dir", str(mine), "-m", "model=net", "model.width=3,5", *QUICK)
    assert done.code == 0, done.err
    frame = read_study(tmp_path / "outputs" / "s")
    assert sorted(frame["model.width"]) == [3, 5]
    assert set(frame["engine"]) == {"solo"}
    ids = set(frame["config_id"])
    (tmp_path / "own_net.py").write_text(OWN_NET.replace("Tanh", "ReLU"), encoding="utf-8")
    monkeypatch.delitem(sys.modules, "own_net", raising=False)
    assert command("--config-dir", str(mine), "-m", "model=net", "model.width=3,5", *QUICK[:-1], "study=t").code == 0
    assert not ids & set(read_study(tmp_path / "outputs" / "t")["config_id"]), "another source, another configuration"


@pytest.mark.parametrize("name", ["activation", "optimizer", "model", "callbacks.x", "logger.x", "data", "trainer"])
@pytest.mark.parametrize(
    "target", ["os.system", "antigravity.x", "idlelib.idle.x", "builtins.open", "torch.load", "json.JSONDecoder"]
)
def test_a_class_of_the_wrong_kind_is_refused_before_it_is_imported_or_called(
    command: Command, tmp_path: Path, name: str, target: str
) -> None:
    key = f"+{name}._target_" if name.endswith(".x") else f"{name}._target_"
    done = command(f"{key}={target}", *QUICK)
    assert done.code == 2, done.err
    assert any(line.startswith(f"{name}._target_: must be a class of") for line in done.refusals), done.err
    assert not {"antigravity", "idlelib.idle"} & set(sys.modules)
    assert list(tmp_path.iterdir()) == []
