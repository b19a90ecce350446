"""What the command refuses, and how: one line each, exit code 2, nothing written, nothing executed (FAULTS D)."""

import re
from pathlib import Path

import pytest

from pima_hp.ledger import read_study
from tests.conftest import Command

QUICK = ("trainer.max_epochs=1", "batch=full", "study=s")
TARGETS = [
    *("os.system", "subprocess.run", "builtins.open", "builtins.eval", "builtins.getattr", "builtins.__import__"),
    *("shutil.copyfile", "torch.load", "functools.partial", "logging.os.system", "pickle.loads"),
    *("importlib.import_module", "pathlib.Path.touch", "torch.nn.ReLU.__init__", "torch.optim.adam.os.system"),
    *(
        "hydra.utils.instantiate",
        "numpy.load",
        "torch.hub.load",
        "runpy.run_path",
        "ctypes.CDLL",
        "pima_hp.commands.train",
    ),
]


SLIPS = {
    "lrr=1": "nearest: optimizer.lr",
    "model.hiden=3": "nearest: model.hidden_widths",
    "data.batch_size=8": "nearest: batch.size",
    "optimiser=adam": "nearest: optimizer",
    "optimizer=adm": "optimizer: must be one of .*sgd.*; found 'adm'; nearest: adam",
    "hydra/launcher=stackd": "hydra/launcher: must be one of .*; nearest: stacked",
    "batch=16": "batch: must be one of b10, b16, .*; found 16; nearest: b16",
    "activation=null": "activation: must be one of .*; found None",
    "+activation=tanh": "activation",
    "batch.size=5,10": "batch.size=5,10.*--multirun",
    "trainer.max_epochs=[": r"trainer.max_epochs=\[: no viable",
    "+foo=1": "foo: no such setting",
    "~optimizer.lr": "^optimizer.lr: must be given; found none$",
    "scheduler.factor=0.5": "scheduler.factor",
    "activation=leaky_relu +activation.negative_slope=.3": "already at 'activation.negative_slope'. Either remove",
    "optimizer.lr=${nowhere}": "'nowhere' not found",
    "-m activation= study=s": "activation",
    "-m optimizer=sgd,sgd_momentum ++optimizer.nesterov=true": "^optimizer: torch.optim.SGD refused .*: Nesterov",
    "-m batch.size=range(0)": "a sweep must have 1 to 10,000 jobs; found 0",
    "-m seed=0,1 hydra.sweeper.limit=-1": "hydra.sweeper.limit: ",
    "-m seed=interval(0,1)": "interval|INTERVAL",
    "-m optimizer.lr=logspace(0,1,9)": "logspace: must be logspace.first,last,n., two different positive numbers",
    "-m optimizer.lr=logspace(1e-4,1,9.5)": "a whole number from 2 to 10,000; found logspace.0.0001,1,9.5.",
    "-m optimizer.lr=linspace(1,2)": "linspace: must be linspace.first,last,n., two different numbers",
    "-m optimizer.lr=linspace(1,1.0000001,9)": "two different numbers .*; found linspace.1,1.0000001,9.",
    "optimizer.lr=logspace(1e-4,1,9)": r"optimizer.lr=logspace\(1e-4,1,9\).*--multirun",
    "-m optimizer.lr=[logspace(1e-4,1,9)]": "optimizer.lr.*: logspace, .* must be the value of a setting, or between",
    "-m optimizer.lr=interval(0,1),2": "logspace, linspace, range and choice must be the value of a setting",
    "-m experiment=batch_size,activation": "hydra.sweeper: grids must be of one experiment; found those of several",
    "-m hydra.sweeper.grids=[x]": r"hydra.sweeper.grids=\[x\]: Cannot assign str to Dict",
    "streams.split=[]": "streams.split: ",
    "streams.split=[0,0.5]": "streams.split.1: must be a valid integer; found 0.5",
    "streams.split=[0,1] debug=overfit": "n_replicates, streams: must be of one run with .*; found 2 runs",
    "streams.split=[0,1] n_replicates=1000000": "n_replicates, streams: must be of at most 1,000,000 runs",
    "--config-dir nodir": "--config-dir: must be a folder; found 'nodir'",
    "-m study=a,b": "study: must be one name for all jobs",
    "-m engine=fused,solo study=s": "engine: must be the same for all jobs",
    "-m test=true study=s": "test: must go with one run",
    "test=true n_replicates=2": "n_replicates, streams: must be of one run with ckpt_path, test or debug; found 2",
    "activation=softplus activation.beta=0": "activation.beta: must be greater than 0; found 0",
    "optimizer=adam optimizer.betas=[0.9]": "optimizer.betas: ",
    "+activation.slope=1": "activation: .*slope",
    "activation=elu activation.alpha=-1 +activation.inplace=true": "activation: .*negative slope",
    "+trainer.max_epoch=3": "trainer.*max_epoch",
    "+trainer.callbacks=[]": "trainer.callbacks: ",
    "trainer.devices=2": "trainer.devices: must be 1",
    "trainer.precision=16-mixed": "trainer.precision: 16-mixed needs a CUDA device",
    "trainer=gpu": "trainer.accelerator: gpu needs a CUDA device",
    "+activation._args_=[1]": "activation.*_args_",
    "activation=[relu,tanh]": "activation: must be one option; found several",
    "-m batch=[b5,b32] seed=0,1": "batch: must be one option; found several",
    "experiment=[batch_size,activation]": "experiment: must be one option; found several",
    "activation=identity +activation.slope=1": "activation: .*takes no arguments; found slope",
    "callbacks.model_checkpoint.dirpath=file:///x": "callbacks.model_checkpoint.dirpath: must lie in the study",
    "optimizer=adam +optimizer.maximize=no": "optimizer: maximize must be true or false; found 'no'",
    "-m optimizer=sgd +optimizer.nesterov=no": "optimizer: nesterov must be true or false; found 'no'",
    "callbacks=early_stopping +callbacks.early_stopping.strict=no": "callbacks.early_stopping: strict must be true",
    "logger=wandb": "logger.wandb: needs a package that is not installed: pip install wandb",
    "logger.tensorboard.save_dir=/tmp/x": "logger.tensorboard.save_dir: must lie in the study's folder",
    "logger.tensorboard.name=../../../x": "logger.tensorboard.name: must lie in the study's folder",
    "callbacks.model_checkpoint.dirpath=../x": "callbacks.model_checkpoint.dirpath: must lie in the study's folder",
    "+trainer.default_root_dir=/tmp/x": "trainer.default_root_dir: ",
    "callbacks.model_checkpoint.mode=least": "callbacks.model_checkpoint: ",
    "+callbacks.early_stopping.patience=3": "callbacks.early_stopping",
    "data._target_=lightning.LightningDataModule": "data._target_: must be a class of",
    "train=false": "train: false must go with test=true ckpt_path=FILE",
    "ckpt_path=none.ckpt": "ckpt_path: .*found 'none.ckpt'",
    "export=0123 study=nosuch": "export: must begin the id of one run of .*found 0",
    "-m activation=gelu activation.approximate=tanh engine=fused": "engine: fused cannot train this",
    "--experimental-rerun x.pickle": "--experimental-rerun.*must not be given",
}


@pytest.mark.parametrize("argument", SLIPS)
def test_d1_what_is_wrong_is_refused_in_one_line_and_nothing_is_written(
    command: Command, tmp_path: Path, argument: str
) -> None:
    done = command(*argument.split(" "))
    assert (done.code, done.out) == (2, "")
    (line,) = done.refusals
    assert re.search(SLIPS[argument], line), line
    assert len(done.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_fault_of_the_storage(command: Command) -> None:
    done = command("outputs=/proc/nowhere")
    assert done.code == 4
    assert "/proc/nowhere" in done.err
    assert len(done.err.splitlines()) == 1


def test_problems_of_all_settings_are_told_at_once(command: Command, tmp_path: Path) -> None:
    done = command("trainer.max_epochs=0", "optimizer.lr=nan", "seed=-1", "engine.name=maybe")
    assert done.code == 2
    assert len(done.refusals) == 4
    assert list(tmp_path.iterdir()) == []


def test_d7_all_bad_jobs_of_a_sweep_are_listed_before_anything_is_trained(command: Command, tmp_path: Path) -> None:
    sizes = ",".join(str(size) for size in [5, *range(700, 722), 10])
    done = command("-m", f"batch.size={sizes}", "study=s")
    assert (done.code, done.out) == (2, "")
    assert done.refusals[0].endswith("found 700")
    assert done.refusals[20:] == ["... and 2 more"]
    done = command("-m", "optimizer=adm,adam,sdg", "activation=relu,tahn", "study=s")
    assert done.code == 2
    assert {line.rpartition(" ")[2] for line in done.refusals} == {"adam", "sgd", "tanh"}
    assert list(tmp_path.iterdir()) == []


def test_d10_a_product_that_overflows_is_refused_with_its_number(command: Command, tmp_path: Path) -> None:
    keys = ["optimizer.lr", "optimizer.eps", "optimizer.alpha", "optimizer.weight_decay", "optimizer.momentum", "seed"]
    done = command("-m", *(f"{key}=range(0,100)" for key in keys))
    assert done.code == 2
    assert "hydra.sweeper.limit: a sweep must have 1 to 10,000 jobs; found 1,000,000,000,000" in done.refusals[0]
    few = command("-m", "seed=range(0,4)", "hydra.sweeper.limit=3", "study=s")
    assert few.code == 2
    assert "1 to 3 jobs" in few.refusals[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", TARGETS)
def test_d12_no_class_outside_the_allow_list_is_called(command: Command, tmp_path: Path, target: str) -> None:
    group = "optimizer" if "optim" in target else "activation"
    done = command(f"{group}._target_={target}")
    assert done.code == 2
    assert done.refusals[0].startswith(f"{group}._target_: must be a class of"), done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "addition",
    [
        ("+activation.inplace={_target_:os.system,command:'touch marker'}",),
        ("+optimizer.foreach={_target_:os.system,command:'touch marker'}",),
        ("study=os.system", "activation._target_=${study}"),
        ("++activation._target_=os.system", "+activation.command='touch marker'", "+activation._convert_=all"),
        ("++activation._target_=os.system", "+activation._args_=['touch marker']"),
    ],
)
def test_d12_nested_targets(command: Command, tmp_path: Path, addition: tuple[str, ...]) -> None:
    done = command(*addition, "trainer.max_epochs=1")
    assert done.code == 2
    assert done.refusals
    assert list(tmp_path.iterdir()) == []


def test_d12_a_yaml_of_ones_own_may_add_options_but_no_code(command: Command, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for name, text in {
        "activation/evil": "_target_: os.system\ncommand: touch marker\n",
        "activation/mish": "_target_: torch.nn.Mish\n",
        "experiment/evil": "# @package _global_\nhydra: {callbacks: {x: {_target_: os.system, command: touch m}}}\n",
    }.items():
        path = mine / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    before = set(tmp_path.rglob("*"))
    for arguments in (["activation=evil"], ["-m", "activation=relu,evil"], ["experiment=evil"]):
        done = command("--config-dir", str(mine), *arguments, *QUICK)
        assert done.code == 2
        assert "os.system" in done.refusals[0]
    assert set(tmp_path.rglob("*")) == before
    done = command("--config-dir", str(mine), "activation=mish", *QUICK)
    assert done.code == 0, done.err
    assert read_study(tmp_path / "outputs" / "s")["activation"].tolist() == ["mish"]


HOSTILE = {
    "newline": 'a\nb', "quotes": "it's \"so\"", "emoji": "😀", "rtl": "a\u202eb", "long": "x" * 10_000,
    "up": "../../up", "root": "/etc/passwd", "device": "CON", "dash": "-m", "shell": "$(touch marker)",
    "percent": "%s%n", "format": "{0.__class__}", "ansi": "\x1b[31mred",
}  # fmt: skip


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_d16_a_hostile_value_is_taken_literally_or_refused(command: Command, tmp_path: Path, value: str) -> None:
    quoted = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    done = command(f"study={quoted}", "trainer.max_epochs=1", "batch=full")
    allowed = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value) and len(value) <= 100
    assert done.code == (0 if allowed else 2), done.err
    assert all(line.isprintable() for line in done.err.splitlines())
    here = {path.name for path in tmp_path.iterdir()}
    assert here == ({"outputs"} if allowed else set())
    assert not (tmp_path.parent / "up").exists()
    done = command(f"data.label={quoted}", *QUICK)
    assert done.code == 2
    assert all(line.isprintable() for line in done.err.splitlines())
    assert "Traceback" not in done.err


def test_d16_what_is_swept_is_stored_literally_below_the_study(command: Command, tmp_path: Path) -> None:
    names = ["a_b", "ünï", "x y"]
    table = "{},{},{},y\n" + "".join(f"{n},{n * 7 % 5},{n * 3 % 11},{n % 2}\n" for n in range(20))
    (tmp_path / "t.csv").write_text(table.format(*names), encoding="utf-8")
    own = ["data=csv", "data.path=t.csv", "data.label=y", "batch.size=4", "trainer.max_epochs=1", "study=s"]
    done = command("-m", *own, "data.features=['ünï'],['x y',a_b]")
    assert done.code == 0, done.err
    study = tmp_path / "outputs" / "s"
    found = read_study(study)
    assert {tuple(value) for value in found["data.features"]} == {("ünï",), ("x y", "a_b")}
    assert {path.name for path in tmp_path.iterdir()} == {"outputs", "t.csv"}
    assert all(re.fullmatch(r"[A-Za-z0-9._=,+-]+", path.name) for path in (study / "jobs").iterdir())


GRIDS = {
    "hydra.job_logging.handlers.file.class: [evil.H]": "must not set Hydra's own settings",
    '"batch.size, optimizer.lr": [[5, 0.1], [10]]': "rows of 2 values each; found [[5, 0.1], [10]]",
    '"batch.size, optimizer.lr": 5': "rows of 2 values each; found 5",
    "optimizer.lr: logspace(1,1,3)": "logspace: must be",
}


@pytest.mark.parametrize("line", GRIDS)
def test_a_grid_that_is_wrong_is_refused_and_none_holds_a_setting_of_hydra(
    command: Command, tmp_path: Path, line: str
) -> None:
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (tmp_path / "evil.py").write_text("import pathlib; pathlib.Path('marker').touch()\nH = 1\n", encoding="utf-8")
    (folder / "mine.yaml").write_text(
        "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper:\n    grids:\n"
        f"      - {line}\n        batch.shuffle: [true]\n",
        encoding="utf-8",
    )
    done = command("--config-dir", str(tmp_path / "mine"), "experiment=mine", "trainer.max_epochs=1")
    assert done.code == 2
    (refusal,) = done.refusals
    assert GRIDS[line] in refusal
    assert not (tmp_path / "marker").exists()
