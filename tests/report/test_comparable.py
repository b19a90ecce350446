"""Which runs of a study are compared, and what is said of them."""

import numpy as np
import pytest

from pima_hp.analysis.selection import varying_settings
from pima_hp.errors import InputError
from pima_hp.report.comparable import comparable

BATCHES = [{"batch.size": size} for size in (32, 5, 16, 10)]
OTHER = "1a2b3c4d" * 8


def test_values_are_in_the_order_of_numbers_and_each_run_is_with_its_own(make_study):
    levels = comparable(make_study(BATCHES, 3), ["batch.size"]).levels
    assert list(levels) == ["5", "10", "16", "32"]
    assert all(set(runs["batch.size"]) == {int(value)} and len(runs) == 3 for value, runs in levels.items())


def test_other_settings_are_never_pooled(make_study):
    crossed = [{**batch, "data.scaling": scaling} for batch in BATCHES for scaling in ("standard", "none")]
    compared = comparable(make_study(crossed, 3), ["batch.size"])
    assert set(compared.runs["data.scaling"]) == {"none"}  # that of conf/config.yaml
    assert "3 replicates a setting" in compared.caption
    assert "Not drawn: other combinations of scaling" in compared.caption


def test_settings_that_belong_to_a_value_go_with_it_unless_they_vary_within_it(make_study):
    pair = [{"optimizer": "adam", "optimizer.eps": 1e-7}, {"optimizer": "sgd", "optimizer.eps": None}]
    frame = make_study([*pair, *BATCHES], 1)
    assert list(comparable(frame, ["optimizer"]).levels) == ["adam", "rmsprop", "sgd"]
    assert [*varying_settings(make_study(pair, 1))] == ["optimizer"]
    rates = [{"optimizer": name, "optimizer.lr": rate} for name in ("adam", "sgd") for rate in (0.1, 0.001)]
    chosen = comparable(make_study(rates, 1), ["optimizer"])
    assert set(chosen.runs["optimizer.lr"]) == {0.001}
    assert list(chosen.others) == ["optimizer.lr"]


def test_details_of_an_option_are_not_named_among_other_settings(make_study):
    options = [("relu", None), ("leaky_relu", 0.1), ("leaky_relu", 0.3)]
    settings = [
        {**batch, "activation": name, "activation.negative_slope": slope}
        for batch in BATCHES
        for name, slope in options
    ]
    compared = comparable(make_study(settings, 1), ["batch.size"])
    assert compared.context == "With activation relu, the"
    assert compared.caption.endswith("Not drawn: other combinations of activation.")


def test_the_caption_says_what_is_fixed_missing_and_left_out(make_study):
    frame = make_study([{"optimizer.lr": 0.001 * n} for n in range(1, 101)], 2, epochs=5, diverged={1: 2, 4: 3})
    text = comparable(frame, ["optimizer.lr"]).caption
    assert "Missing: 2 of 200 diverged" in text
    fixed = text.partition("Fixed: ")[2]
    for part in ("activation relu", "optimizer rmsprop", "epochs 5", "initialization uniform", "batch size 10"):
        assert part in fixed
    assert "learning rate" not in fixed


@pytest.mark.parametrize(
    ("fractions", "name"), [((0.0,), "test"), ((0.2,), "validation"), ((0.0, 0.2), "test or validation")]
)
def test_validation_rows_are_not_called_test(make_study, fractions, name):
    frame = make_study([{"data.val_fraction": fraction} for fraction in fractions], 1)
    assert comparable(frame, ["data.val_fraction"]).validation_rows == name


def test_names_of_values_stay_different(make_study):
    frame = make_study([{"activation": text} for text in ("x" * 99, "x" * 99 + "y", "relu")], 1, epochs=2)
    levels = comparable(frame, ["activation"]).levels
    assert len(levels) == 3
    assert max(map(len, levels)) < 50


@pytest.mark.parametrize(("rate", "reach"), [(214 / 614, 0.72), (0.2, 0.84), (0.9, 0.92), (np.nan, None)])
def test_the_accuracy_to_reach_is_relative_to_the_majority(make_study, rate, reach):
    assert comparable(make_study(BATCHES, 2).assign(positive_rate=rate), ["batch.size"]).reach == reach


def test_runs_of_two_tables_have_no_majority_in_common(make_study):
    frame = make_study(BATCHES, 3)
    frame.loc[frame["batch.size"] == 5, ["data_digest", "positive_rate"]] = (OTHER, 0.1)
    compared = comparable(frame, ["batch.size", "data_digest"])
    assert (compared.majority, compared.reach) == (None, None)


def test_an_unknown_factor_is_refused(make_study):
    with pytest.raises(InputError, match=r"found 'batch\.sise'; allowed: .*batch\.size"):
        comparable(make_study(BATCHES, 1), ["batch.sise"])
