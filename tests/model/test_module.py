"""`MLPClassifier`: plain hyperparameters, checkpoints that load alone and execute nothing, predictions for raw rows."""

import math
import pickle
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from pima_hp.data.table import SHIPPED
from pima_hp.errors import CheckpointError, ConfigurationError, InputError, RowsError
from pima_hp.model import MLPClassifier
from pima_hp.model.metrics import FINAL_METRICS, scored
from pima_hp.model.mlp import build_network
from pima_hp.training.solo import fit, quiet
from tests.conftest import job_of
from tests.networks import vectors_of

RELU = {"_target_": "torch.nn.ReLU"}
MODEL = {"_target_": "pima_hp.model.MLP", "n_features": 8, "hidden_widths": [12, 8], "activation": RELU}
SGD = {"_target_": "torch.optim.SGD", "lr": 0.1}
OWN = "tests.model.test_module"


class Net(nn.Module):
    """A network of one's own: it takes neither `n_features` nor `activation`, and has dropout."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, width), nn.Dropout(0.5), nn.Linear(width, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).squeeze(-1)


@pytest.fixture
def trained(tmp_path: Path) -> tuple[MLPClassifier, Path]:
    """A module after two epochs, and the checkpoint of the last."""
    overrides = ("data.scaling=standard", "data.missing=median", "trainer.max_epochs=2", "batch=b32")
    (run,) = job_of(*overrides).runs
    checkpoint = ModelCheckpoint(tmp_path, save_last=True)
    return fit(run, callbacks=[checkpoint])[1], tmp_path / "last.ckpt"


def raw_rows() -> pd.DataFrame:
    return pd.read_csv(SHIPPED)


def test_a_checkpoint_loads_alone_and_predicts_raw_rows(
    trained: tuple[MLPClassifier, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, path = trained
    content = torch.load(path, weights_only=True)
    assert content["hyper_parameters"]["optimizer"]["_target_"] == "torch.optim.RMSprop"
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    loaded = MLPClassifier.load_from_checkpoint(path)
    rows = raw_rows()
    probabilities = loaded.predict(rows)
    assert probabilities.shape == (768,)
    assert not loaded.training
    assert torch.equal(probabilities, module.predict(rows))
    assert loaded.preprocessing == module.preprocessing
    features, _ = module.trainer.datamodule.tensors("val")
    val_rows = rows.iloc[_val_rows(module)]
    torch.testing.assert_close(loaded.predict(val_rows), loaded(features).sigmoid().detach(), rtol=1e-6, atol=1e-7)
    shuffled = rows.assign(note="x")[rows.columns[::-1]]
    assert torch.equal(loaded.predict(shuffled), probabilities)
    with pytest.raises(RowsError, match="'glucose'"):
        loaded.predict(rows.drop(columns="glucose"))


def _val_rows(module: MLPClassifier) -> list[int]:
    from pima_hp.data.prepared import split_rows
    from pima_hp.seeds import Role, stream

    data = module.trainer.datamodule
    return split_rows(torch.tensor(data.table.labels), data.section, stream(0, Role.SPLIT))["val"].tolist()


def test_prediction_leaves_the_mode_as_it_is_and_needs_a_trained_module(trained: tuple[MLPClassifier, Path]) -> None:
    module, _ = trained
    for training in (True, False):
        module.train(training)
        assert not module.predict(raw_rows()).requires_grad
        assert module.training is training
    with pytest.raises(InputError, match="predict: the module has no fitted preprocessing"):
        MLPClassifier(MODEL, SGD).predict(raw_rows())


class Payload:
    """What a hostile pickle does when it is loaded."""

    def __reduce__(self) -> Any:
        return exec, (f"import sys; sys.modules[{__name__!r}].EXECUTED.append(1)",)


EXECUTED: list[int] = []


def broken(path: Path, what: str) -> None:
    """Write something other than a checkpoint."""
    if what == "pickle":
        path.write_bytes(pickle.dumps(Payload()))
    elif what == "payload":
        torch.save({"hyper_parameters": Payload(), "state_dict": {}}, path)
    elif what == "legacy payload":
        torch.save({"state_dict": Payload()}, path, _use_new_zipfile_serialization=False)
    elif what == "text":
        path.write_text("not a checkpoint")
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "tensor":
        torch.save(torch.zeros(2), path)
    elif what == "other":
        torch.save({"state_dict": {}}, path)
    elif what == "folder":
        path.mkdir()


@pytest.mark.parametrize("forced", [False, True])
@pytest.mark.parametrize(
    "what", ["pickle", "payload", "legacy payload", "text", "empty", "tensor", "other", "folder", "missing"]
)
def test_anything_but_a_checkpoint_is_refused_in_one_line_and_nothing_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, forced: bool
) -> None:
    path = tmp_path / "x.ckpt"
    broken(path, what)
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(CheckpointError, match=r"x\.ckpt': must ") as caught:
        MLPClassifier.load_from_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value), "torch's advice to execute it"
    assert EXECUTED == []
    pickle.loads(pickle.dumps(Payload()))  # noqa: S301 -- our own bytes
    assert EXECUTED.pop() == 1, "the payload would execute"


@pytest.mark.parametrize("path", ["https://example.org/x.ckpt", "s3://bucket/x.ckpt", "file:///etc/hosts"])
def test_only_local_paths_are_read(path: str) -> None:
    with pytest.raises(CheckpointError, match="must be a local checkpoint"):
        MLPClassifier.load_from_checkpoint(path)


def rewritten(path: Path, **changes: object) -> Path:
    """The same checkpoint with other hyperparameters, or other parts."""
    content = torch.load(path, weights_only=True)
    for name, value in changes.items():
        if name in content:
            content[name] = value
        else:
            content["hyper_parameters"][name] = value
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {**MODEL, "_target_": "os.system"}},
        {"model": {**MODEL, "_target_": "subprocess.Popen"}},
        {"model": {**MODEL, "activation": {"_target_": "builtins.exec"}}},
        {"model": 3},
        {"model": {**MODEL, "hidden_widths": [5]}},
        {"_instantiator": "os.system"},
        {"unknown": 1},
        {"preprocessing": {"shift": [1.0]}},
        {"state_dict": {"model.layers.0.weight": torch.zeros(1)}},
    ],
    ids=str,
)
def test_a_changed_checkpoint_is_refused_in_one_line(
    trained: tuple[MLPClassifier, Path], changes: dict[str, Any]
) -> None:
    path = rewritten(trained[1], **changes)
    with pytest.raises(CheckpointError) as caught:
        MLPClassifier.load_from_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_class_of_ones_own_is_found_once_it_is_imported(
    trained: tuple[MLPClassifier, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_networks.py").write_text("import torch\n\nclass Mine(torch.nn.Linear):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": "my_networks.Mine", "in_features": 8, "out_features": 1}
    path = rewritten(
        trained[1], model=node, state_dict={"model.weight": torch.zeros(1, 8), "model.bias": torch.ones(1)}
    )
    with pytest.raises(CheckpointError, match=r"'my_networks\.Mine'"):
        MLPClassifier.load_from_checkpoint(path)
    assert "my_networks" not in sys.modules
    import my_networks  # type: ignore[import-not-found]

    assert isinstance(MLPClassifier.load_from_checkpoint(path).model, my_networks.Mine)
    del sys.modules["my_networks"]


def test_a_network_of_ones_own_is_given_what_it_takes_and_draws_from_the_init_stream() -> None:
    node = {"_target_": f"{OWN}.Net", "width": 3, "n_features": 8, "activation": RELU}
    state = torch.random.get_rng_state()
    one, same, other = (build_network(node, seed, torch.float64) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert isinstance(one, Net)
    for mine, twin, stranger in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert mine.dtype == torch.float64
        assert torch.equal(mine, twin)
        assert not torch.equal(mine, stranger)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("target", ["os.system", "torch.load", "torch.optim.Adam", "lightning.Trainer", None])
def test_a_network_is_a_module(target: str | None) -> None:
    with pytest.raises(ConfigurationError, match=r"^_target_: must be a class of the kind torch\.nn"):
        MLPClassifier({**MODEL, "_target_": target}, SGD)


def test_lightning_tests_and_predicts_with_it(trained: tuple[MLPClassifier, Path]) -> None:
    module, _ = trained
    data = module.trainer.datamodule
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    with quiet():
        (scores,) = trainer.test(module, datamodule=data, verbose=False)
        (probabilities,) = trainer.predict(module, datamodule=data)
        (watched, *_) = trainer.validate(module, datamodule=data, verbose=False)
    assert set(scores) == {f"test/{name}" for name in ("accuracy", "loss", "auroc", "f1", "brier")}
    assert scores["test/loss"] == pytest.approx(float(module.history[2]["val/loss"]), rel=1e-6)
    torch.testing.assert_close(probabilities, module(data.tensors("test")[0]).sigmoid().detach())
    assert watched["val/loss"] == pytest.approx(scores["test/loss"])
    features, labels = data.tensors("test")
    with torch.no_grad():
        expected = scored("test/{}", FINAL_METRICS, module(features), labels)
    for metric, score in expected.items():
        assert scores[metric] == pytest.approx(float(score), abs=1e-6)


def test_test_rows_of_one_class_have_no_auroc(trained: tuple[MLPClassifier, Path]) -> None:
    data = trained[0].trainer.datamodule
    features, labels = data.tensors("val")
    data._tensors["val"] = features, labels * 0
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    with quiet():
        (scores,) = trainer.test(trained[0], datamodule=data, verbose=False)
    assert math.isnan(scores.pop("test/auroc"))
    assert all(map(math.isfinite, scores.values()))


class Subclass(MLPClassifier):
    """A module with arguments and a metric of its own."""

    def __init__(self, *, note: str, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.note = note


def test_a_subclass_with_arguments_of_its_own_loads_too(tmp_path: Path) -> None:
    module = Subclass(note="n", model=MODEL, optimizer=SGD)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=0)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    loaded = Subclass.load_from_checkpoint(tmp_path / "x.ckpt")
    assert loaded.note == "n"
    assert torch.equal(vectors_of(loaded.model), vectors_of(module.model))
    with pytest.raises(CheckpointError, match=r"a local checkpoint of MLPClassifier; .*note"):
        MLPClassifier.load_from_checkpoint(tmp_path / "x.ckpt")
