"""Classes of one's own: what is trained is what is identified and recorded, by whichever engine."""

import sys
from pathlib import Path

import numpy as np
import pytest

from pima_hp.ledger import Manifest, read_study
from pima_hp.training.solo import fit
from tests.conftest import Command, job_of

QUICK = ("trainer.max_epochs=2", "batch=full", "study=s")
OTHER_STUDY = (*QUICK[:-1], "study=t")
CODE = """
import random
import lightning as L
import numpy as np
import torch
from own_base import Base

class Net(Base):
    def __init__(self, n_features):
        super().__init__()
        self.layer = torch.nn.Linear(n_features, 1)
        self.scale = np.random.rand() + random.random() + float(torch.rand(1))
    def forward(self, features):
        return self.layer(features).squeeze(-1) * self.scale * self.factor

class Clipping(L.Trainer):
    def __init__(self, **arguments):
        super().__init__(gradient_clip_val=1e-9, **arguments)

class Log(L.pytorch.loggers.CSVLogger):
    pass

class Logging(L.Callback):
    def __init__(self, x=5):
        self.x = x
    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.log("status", float(self.x or 0))
"""
BASE = "import torch\nclass Base(torch.nn.Module):\n    factor = 1.0\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with modules of one's own, from which the command runs."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    (tmp_path / "own_classes.py").write_text(CODE, encoding="utf-8")
    (tmp_path / "own_base.py").write_text(BASE, encoding="utf-8")
    forget(monkeypatch)
    return tmp_path


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("own_classes", "own_base"):
        monkeypatch.delitem(sys.modules, name, raising=False)


NET = ("model._target_=own_classes.Net", "~model.hidden_widths", "~model.initialization")


def test_random_numbers_of_any_library_come_from_the_seed_of_the_run(command: Command, own: Path) -> None:
    curves = []
    for study in ("a", "b"):
        np.random.seed(len(curves))  # noqa: NPY002
        assert command(*NET, *QUICK[:-1], f"study={study}").code == 0
        curves.append(read_study(own / "outputs" / study)["val/loss"][0].tolist())
    assert curves[0] == curves[1]


def test_the_source_of_a_base_class_is_part_of_the_id(
    command: Command, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(*NET, *QUICK).code == 0
    (own / "own_base.py").write_text(BASE.replace("1.0", "3.0"), encoding="utf-8")
    forget(monkeypatch)
    again = command(*NET, *QUICK[:-1], "study=t")
    assert "trained 1 run" in again.err
    ids = [read_study(own / "outputs" / study)["config_id"][0] for study in ("s", "t")]
    assert ids[0] != ids[1]


def test_a_trainer_of_ones_own_trains_a_sweep_run_by_run(command: Command, own: Path) -> None:
    trainer = ("trainer._target_=own_classes.Clipping", "optimizer=sgd", "optimizer.lr=0.1")
    assert command("-m", *trainer, "seed=0,1", *QUICK).code == 0
    frame = read_study(own / "outputs" / "s")
    assert set(frame["engine"]) == {"solo"}
    assert all(np.ptp(curve) < 1e-6 for curve in frame["train/loss_end"]), "clipped gradients change nothing"


def test_an_argument_that_is_null_is_not_given(command: Command, own: Path) -> None:
    callback = ("+callbacks.mine._target_=own_classes.Logging", "+callbacks.mine.x=null")
    assert command(*callback, *QUICK).code == 0
    frame = read_study(own / "outputs" / "s")
    assert "nothing to train" in command(callback[0], *QUICK).err, "one id"
    assert frame["logged/status"][0].tolist() == [5.0, 5.0], "the default, as without the argument"


def test_a_logger_of_ones_own_logs(command: Command, own: Path) -> None:
    logger = ("logger=none", "+logger.mine._target_=own_classes.Log", "+logger.mine.save_dir=outputs/s/mine")
    assert command(*logger, *QUICK).code == 0
    assert list((own / "outputs" / "s" / "mine").rglob("metrics.csv"))


def test_the_digest_of_a_source_cannot_be_given() -> None:
    assert job_of("+optimizer._source_=abc").config.id == job_of().config.id


def test_one_batch_is_another_configuration_than_all_batches() -> None:
    one, every = (
        job_of("batch=b32", f"+trainer.limit_train_batches={limit}", "trainer.max_epochs=1") for limit in (1, 1.0)
    )
    assert one.config.id != every.config.id
    updates = [int(fit(job.runs[0])[0].n_updates[0]) for job in (one, every)]
    assert updates == [1, 20]


def test_callbacks_that_act_in_another_order_are_another_configuration(command: Command, own: Path) -> None:
    a, b = "+callbacks.a._target_=own_classes.Logging", "+callbacks.b._target_=own_classes.Logging"
    for study, order in (("s", (a, b)), ("t", (b, a))):
        assert command(*order, *QUICK[:-1], f"study={study}").code == 0
    ids = [read_study(own / "outputs" / study)["config_id"][0] for study in ("s", "t")]
    assert ids[0] != ids[1]


def test_jobs_of_any_sweeper_are_in_the_manifest_and_counted(command: Command, own: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    rates = ",".join(f"{n}e-3" for n in range(1, 9))
    jobs = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=4", "hydra/sweeper=basic")
    done = command("-m", *jobs, f"optimizer.lr={rates}", *QUICK)
    assert done.code == 0, done.err
    assert "trained 8 runs" in done.err
    manifest = Manifest.read(own / "outputs" / "s")
    assert manifest is not None
    assert len(manifest.run_ids) == len(read_study(own / "outputs" / "s")) == 8


def test_jobs_may_share_some_of_their_runs(command: Command, own: Path) -> None:
    for study, launcher in (("s", ()), ("t", ("hydra/launcher=joblib",))):
        assert command("-m", "seed=0,1", "n_replicates=2", *launcher, *QUICK[:-1], f"study={study}").code == 0
        assert len(read_study(own / "outputs" / study)) == 3


def test_no_checkpoint_of_an_attempt_that_did_not_finish_is_left(command: Command, own: Path) -> None:
    assert command(*QUICK).code == 0
    (part,) = own.rglob("*.parquet")
    part.unlink()
    (checkpoint,) = own.rglob("*.ckpt")
    checkpoint.write_bytes(b"of another attempt")
    assert command(*QUICK).code == 0
    assert [path.name for path in own.rglob("*.ckpt")] == ["best.ckpt"]
    assert checkpoint.stat().st_size > 1000


def test_a_run_that_is_in_the_ledger_is_tested_from_its_checkpoint(command: Command, own: Path) -> None:
    first = command("test=true", *QUICK)
    again = command("test=true", *QUICK)
    scores = [[line for line in done.out.splitlines() if "test/" in line] for done in (first, again)]
    assert scores[0] == scores[1] != []


@pytest.mark.parametrize("code", ["raise SystemExit(0)", "class Leaves:\n    pass\nexit(3)"])
def test_a_module_that_ends_the_process_is_refused_in_a_line(command: Command, own: Path, code: str) -> None:
    (own / "own_leaving.py").write_text(code, encoding="utf-8")
    done = command("activation._target_=own_leaving.Leaves", "study=s")
    assert done.code == 2
    assert "'own_leaving.Leaves' cannot be imported: SystemExit" in done.refusals[0]
