"""Names of configurations: what differs, nothing else, and safe as folders."""

import re
from typing import Any

import pytest

from pima_hp.ledger import Manifest
from pima_hp.ledger.plan import run_name
from tests.ledger.conftest import LEAKY, SGD, configuration_of

RMSPROP = {"_target_": "torch.optim.RMSprop", "lr": 0.001, "alpha": 0.9}
STEP = {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 30, "gamma": 0.1}


def _flat(*changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    configurations = [configuration_of(**change) for change in changes]
    return {one.id: one.flat for one in configurations}


def _manifest(settings: dict[str, dict[str, Any]], swept: tuple[str, ...] = ()) -> Manifest:
    return Manifest(settings, [], swept, {})


def _labels(*changes: dict[str, Any], swept: tuple[str, ...] = ()) -> list[str]:
    return list(_manifest(_flat(*changes), swept).labels.values())


@pytest.mark.parametrize(
    ("changes", "swept", "labels"),
    [
        ([{}, {"activation": LEAKY}], (), ["relu", "leaky_relu"]),
        ([{}, {"optimizer": SGD}, {"optimizer": RMSPROP}], (), ["adam", "sgd", "rmsprop"]),
        ([{"optimizer__lr": 0.1}, {"optimizer__lr": 1e-5}], (), ["lr 0.1", "lr 1e-05"]),
        ([{"optimizer": {**SGD, "lr": lr}} for lr in (1.0, 2.0)] + [{}], (),
         ["sgd, lr 1", "sgd, lr 2", "adam, lr 0.001"]),
        ([{"batch__size": 5}, {"activation": LEAKY}], (), ["relu, batch 5", "leaky_relu, batch 16"]),
        ([{"batch__size": 5}, {"activation": LEAKY}], ("batch.size", "activation"),
         ["batch 5, relu", "batch 16, leaky_relu"]),
        ([{}, {"activation": {**LEAKY, "negative_slope": 0.1}}, {"activation": LEAKY}], (),
         ["relu", "leaky_relu, negative_slope 0.1", "leaky_relu, negative_slope 0.3"]),
        ([{"batch__shuffle": True}, {}], (), ["shuffle true", "shuffle false"]),
        ([{"scheduler": STEP}, {}], (), ["step", "no scheduler"]),
        ([{"model__hidden_widths": [4]}, {}], (), ["hidden_widths 4", "hidden_widths 12-8"]),
        ([{"trainer__gradient_clip_val": 1.0}, {}], (), ["gradient_clip_val 1", "baseline"]),
        ([{"data__path": "a/mine.csv", "data_digest": "1" * 64}, {}], (), ["path mine", "path pima"]),
        ([{"trainer__accelerator": "gpu", "activation": LEAKY}, {}], (), ["leaky_relu", "relu"]),
        ([{}], (), ["relu, adam, lr 0.001, batch 16"]),
        ([{"scheduler": STEP, "batch__size": "full"}], (), ["relu, adam, step, lr 0.001, batch full"]),
        ([], (), []),
    ],
)  # fmt: skip
def test_a_configuration_is_named_by_what_differs(
    changes: list[dict[str, Any]], swept: tuple[str, ...], labels: list[str]
) -> None:
    assert _labels(*changes, swept=swept) == labels


def test_a_callback_is_named_by_its_class_unless_it_only_watches() -> None:
    stopping = {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "val/loss", "patience": 3}
    watching = {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "dirpath": "checkpoints"}
    assert _labels({"callbacks": {"stop": stopping}}, {"callbacks": {"checkpoint": watching}}) == [
        "EarlyStopping",
        "baseline",
    ]


def test_names_that_would_be_equal_or_differ_in_case_only_are_told_apart_by_the_id() -> None:
    labels = _manifest({"a" * 16: {"activation": "Mine"}, "b" * 16: {"activation": "mine"}}).labels
    assert labels == {"a" * 16: "Mine ~aaaaaa", "b" * 16: "mine ~bbbbbb"}
    files = [{"data__path": f"{folder}/a.csv", "data_digest": folder * 64} for folder in "bc"]
    first, second = _labels(*files, {"data__label": "y"})[:2]
    assert first != second
    assert first.startswith("path a ~")


@pytest.mark.parametrize(
    "name", ["a/b", "a\\b", "..", "a:b\0c", "wide\n\x1b[31m", "x" * 300, "dots. .", "größe", " ", "?"]
)
def test_a_name_is_safe_as_a_folder_on_every_system(name: str) -> None:
    settings = {"a" * 16: {"activation": name}, "b" * 16: {"activation": name + "_"}, "c" * 16: {}}
    labels = _manifest(settings).labels
    assert len(set(labels.values())) == 3
    for label in labels.values():
        assert re.fullmatch(r"[A-Za-z0-9_(~][\w .,=+()~-]*", label, re.ASCII)
        assert len(label) <= 100
        assert not label.endswith((".", " "))


def test_a_run_is_named_by_its_configuration_seed_and_id() -> None:
    assert run_name("relu, sgd", 3, "ab12cd34ef567890") == "relu, sgd, seed 3, ab12cd34ef56"


def test_one_configuration_has_its_main_settings_and_columns_of_one_kind() -> None:
    (alone,) = _manifest(_flat({"data__val_fraction": 0.1})).hparams.values()
    assert alone == {
        "activation": "relu",
        "optimizer": "adam",
        "scheduler": "none",
        "optimizer.lr": 0.001,
        "batch.size": 16.0,
    }
    pair = _manifest(_flat({"batch__size": "full"}, {"batch__size": 5, "optimizer": RMSPROP})).hparams
    assert list(pair.values()) == [
        {"optimizer": "adam", "batch.size": "full"},
        {"optimizer": "rmsprop", "batch.size": "5"},
    ]
