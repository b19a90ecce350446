"""The figure of who learns and the verdicts of its claims count with one definition."""

import numpy as np
import pytest

from pima_hp.analysis.claims import load_claims
from pima_hp.analysis.curves import entropy
from pima_hp.report.factor import figures_of
from tests.report.conftest import caption, layers, results_of, texts

ACTIVATIONS = [{"activation": name} for name in ("relu", "leaky_relu", "sigmoid", "tanh")]
CLAIMS = [claim for claim in load_claims() if claim.id in ("H5", "H6")]


def planted(make_study, margins, rates):
    """Runs whose final training loss is so far below the entropy of their own labels."""
    frame = make_study(ACTIVATIONS, len(margins)).assign(positive_rate=np.tile(rates, len(ACTIVATIONS)))
    levels = entropy(frame["positive_rate"].to_numpy()) - np.tile(margins, len(ACTIVATIONS))
    return frame.assign(**{"train/loss": [np.full(100, level) for level in levels]})


def counts_and_shares(results):
    figure = figures_of(results, "activation")["learns"]
    counts = [text for text in texts(figure) if text.endswith(" learn")]
    parts = {part.name.replace(" ", "_"): part for verdict in results.verdicts for part in verdict.estimates}
    order = ["leaky_relu", "relu", "sigmoid", "tanh"]
    return figure, counts, [parts[name].inference for name in order]


def test_counts_are_those_of_the_verdict_where_a_pooled_level_would_differ(make_study, tmp_path):
    rates = np.linspace(0.30, 0.40, 20)
    margins = np.where(np.arange(20) % 2, 0.025, 0.015)  # half of them learn
    frame = planted(make_study, margins, rates)
    figure, counts, estimates = counts_and_shares(results_of(frame, tmp_path / "s", CLAIMS))
    pooled = sum(loss[-1] < entropy(rates.mean()) - 0.02 for loss in frame["train/loss"][:20])
    assert pooled != 10
    assert counts == ["10 of 20 learn"] * 4
    assert [(share.successes, share.n) for share in estimates] == [(10, 20)] * 4
    drawn = [dot["value"] for dot in layers(figure, "circle")[0]["data"]["values"]]
    assert sorted(drawn) == pytest.approx(sorted(-np.tile(margins, 4)), abs=1e-6)
    assert layers(figure, "rule")[0]["data"]["values"] == [{"level": -0.02}]


def test_the_figure_takes_margin_and_window_from_the_claim(make_study, tmp_path):
    frame = planted(make_study, np.linspace(0.001, 0.1, 20), np.full(20, 0.35))
    tail = np.where(np.arange(100) < 90, 0.0, 0.05)  # the last ten epochs are worse
    frame["train/loss"] = [loss + tail for loss in frame["train/loss"]]
    learns = CLAIMS[0].parts[0].statistic.model_copy(update={"margin_nats": 0.03, "window_epochs": 10})
    own = [
        claim.model_copy(update={"parts": [part.model_copy(update={"statistic": learns}) for part in claim.parts]})
        for claim in CLAIMS
    ]
    figure, counts, estimates = counts_and_shares(results_of(frame, tmp_path / "s", own))
    expected = int((np.linspace(0.001, 0.1, 20) - 0.05 > 0.03).sum())
    assert 0 < expected < 20
    assert counts == [f"{expected} of 20 learn"] * 4
    assert [share.successes for share in estimates] == [expected] * 4
    assert "learns below \N{MINUS SIGN}0.03" in texts(figure)
    assert "over the last 10 epochs is more than 0.03 nats below" in caption(figure)


def test_a_diverged_run_is_counted_as_one_that_does_not_learn_in_both(make_study, tmp_path):
    frame = planted(make_study, np.full(12, 0.1), np.full(12, 0.35))
    frame.loc[[0, 12, 24, 36], "status"] = "diverged"
    for row in (0, 12, 24, 36):
        frame.at[row, "train/loss"] = np.full(100, np.nan)
    _, counts, estimates = counts_and_shares(results_of(frame, tmp_path / "s", CLAIMS))
    assert counts == ["11 of 12 learn"] * 4
    assert [(share.successes, share.n) for share in estimates] == [(11, 12)] * 4
