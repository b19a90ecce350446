"""What the stacked engine can train: whatever of torch is elementwise, bit-equal in every stack and to 1e-9 as solo."""

import io
from dataclasses import replace
from typing import Any

import pytest
from tqdm import tqdm

from pima_hp.config import Config
from pima_hp.model.metrics import EPOCH_METRICS, f1
from pima_hp.run import Run
from pima_hp.training import stacked
from tests.training.conftest import RunsOf, alone, assert_parity, same_bits, scores_of, together

SHORT = ("trainer.max_epochs=3", "batch=b32", "data.scaling=standard")


def own(runs: list[Run], **sections: dict[str, Any]) -> list[Run]:
    """The same runs with other sections, given as `_target_` and arguments."""
    config = runs[0].config
    content = {**config.model_dump(by_alias=True), **sections}
    other = Config.model_validate(content)
    return [replace(run, config=other) for run in runs]


@pytest.mark.parametrize("name", stacked.ELEMENTWISE_OPTIMIZERS)
def test_each_optimizer_of_torch_that_is_elementwise_trains_members_as_if_alone(runs_of: RunsOf, name: str) -> None:
    """Bit for bit in every composition of the stack, and to 1e-9 as solo."""
    optimizer = {"_target_": f"torch.optim.{name}", "lr": 0.01}
    runs = own(runs_of(*SHORT, "trainer.precision=64", "n_replicates=70"), optimizer=optimizer)
    assert stacked.why_not(runs[0].config) == ""
    whole = together(runs, "stacked")
    for places in ([3], [69, 3, 0], list(range(69, 30, -1)), [*range(70), *range(70)]):
        for found, place in zip(together([runs[place] for place in places], "stacked"), places, strict=True):
            assert same_bits(found, whole[place])
    for place in (0, 3):
        assert_parity(whole[place], alone(runs[place]), rtol=1e-9)
    assert scores_of(whole[0]) != scores_of(whole[3])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "optimizer": ({"optimizer": {"_target_": "torch.optim.LBFGS", "lr": 0.1}}, "LBFGS does not update each weight"),
    "factored": ({"optimizer": {"_target_": "torch.optim.Adafactor", "lr": 0.1}}, "Adafactor does not update each"),
    "activation": ({"activation": {"_target_": "torch.nn.Softmax", "dim": -1}}, "Softmax is no elementwise activation"),
    "parameters": ({"activation": {"_target_": "torch.nn.PReLU"}}, "PReLU is no elementwise activation"),
    "random": ({"activation": {"_target_": "torch.nn.RReLU"}}, "RReLU is no elementwise activation"),
    "dropout": ({"activation": {"_target_": "torch.nn.Dropout"}}, "Dropout is no elementwise activation"),
    "plateau": (
        {"scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "patience": 1}},
        "each member would need a learning rate of its own",
    ),
}


@pytest.mark.parametrize(("sections", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_stacked_is_said(runs_of: RunsOf, sections: dict[str, Any], reason: str) -> None:
    (run,) = own(runs_of(), **sections)
    assert reason in stacked.why_not(run.config)


@pytest.mark.parametrize(
    "sections",
    [
        {"scheduler": {"_target_": "torch.optim.lr_scheduler.ExponentialLR", "gamma": 0.5}},
        {"scheduler": {"_target_": "torch.optim.lr_scheduler.PolynomialLR", "total_iters": 2}},
        {"optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01, "amsgrad": True, "weight_decay": 0.1}},
        {"activation": {"_target_": "torch.nn.CELU", "alpha": 0.5}},
        {"callbacks": {"bar": {"_target_": "lightning.pytorch.callbacks.TQDMProgressBar"}}},
        {"activation": {"_target_": "torch.nn.LeakyReLU", "inplace": True}},
    ],
    ids=str,
)
def test_whatever_is_elementwise_is_stacked_without_another_line(runs_of: RunsOf, sections: dict[str, Any]) -> None:
    runs = own(runs_of(*SHORT, "trainer.precision=64", "n_replicates=3"), **sections)
    assert stacked.why_not(runs[0].config) == ""
    for found, run in zip(together(runs, "stacked"), runs, strict=True):
        assert_parity(found, alone(run), rtol=1e-9)


def test_a_metric_of_one_line_reaches_the_curves_of_solo_and_stack(
    runs_of: RunsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EPOCH_METRICS, "f1", f1)
    runs = runs_of(*SHORT, "trainer.precision=64", "n_replicates=3")
    for found, run in zip(together(runs, "stacked"), runs, strict=True):
        assert {"train/f1", "train/f1_end", "val/f1"} <= set(found.curves)
        assert_parity(found, alone(run), rtol=1e-9)


def test_a_stack_moves_the_bar_by_its_runs_but_for_the_last_epoch(runs_of: RunsOf) -> None:
    runs = runs_of(*SHORT, "n_replicates=6")
    with tqdm(total=len(runs), file=io.StringIO()) as progress:
        stacked.fit_stack(runs, progress)
    assert progress.n == 4.0
