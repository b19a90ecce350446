import numpy as np
import pytest

from pima_hp.analysis.baselines import FILE, Baselines, baseline_scores, baselines_table, read_baselines
from pima_hp.analysis.intervals import nadeau_bengio
from tests.analysis.conftest import study

RNG = np.random.default_rng(0)
X = RNG.normal(size=(500, 3))
Y = (RNG.random(500) < 1 / (1 + np.exp(-(0.5 + 2 * X[:, 0] - X[:, 1])))).astype(int)
ORDERS = [np.random.default_rng(seed).permutation(500) for seed in range(20)]
SPLITS = [{"train": order[:400], "test": order[400:]} for order in ORDERS]


def test_baselines_in_the_given_splits():
    found = baseline_scores(X, Y, ["glucose", "bmi", "age"], SPLITS)
    assert list(found) == ["majority class", "logistic regression", "logistic regression on glucose alone"]
    majority, every, glucose = map(np.mean, found.values())
    assert found["majority class"] == pytest.approx(
        [max(Y[order[400:]].mean(), 1 - Y[order[400:]].mean()) for order in ORDERS]
    )
    assert majority < glucose < every
    assert {len(scores) for scores in found.values()} == {20}
    assert len(baseline_scores(X, Y, ["a", "b", "c"], SPLITS)) == 2


def test_separable_rows_constant_features_and_one_class_have_a_score():
    x = np.column_stack([np.arange(40) - 19.5, np.zeros(40)])
    y = (np.arange(40) > 19).astype(int)
    even, odd, first, last = np.arange(0, 40, 2), np.arange(1, 40, 2), np.arange(20), np.arange(20, 40)
    splits = [{"train": even, "test": odd}, {"train": first, "test": last}]
    assert baseline_scores(x, y, ["a", "b"], splits)["logistic regression"] == pytest.approx([0.95, 0.0])


KIND = Baselines(
    settings={"data.test_fraction": 0.2}, seeds=list(range(30)), n_train=614, n_test=154,
    accuracy={"easy": [0.6] * 30, "hard": list(np.linspace(0.7, 0.8, 30))},
)  # fmt: skip


def test_a_network_is_paired_with_each_baseline_in_the_same_splits():
    levels = np.linspace(0.65, 0.75, 30)
    arms = [({"batch.size": size}, levels[:, None] * np.ones(100) + shift) for size, shift in ((32, 0.01), (10, 0.0))]
    table = baselines_table(study(arms), [KIND])
    assert len(table) == 2 * 2
    assert table.loc[table["nearest"], "config_id"].unique().tolist() == ["c1"]
    assert table["differing"].tolist() == ["batch.size=32"] * 2 + [""] * 2
    hard = table[(table["baseline"] == "hard") & table["nearest"]].iloc[0]
    assert (hard["network"], hard["baseline_accuracy"], hard["n_splits"]) == pytest.approx((0.7, 0.75, 30))
    assert list(hard[["difference", "difference_lower", "difference_upper"]]) == pytest.approx([-0.05] * 3)
    easy = table[(table["baseline"] == "easy") & table["nearest"]].iloc[0]
    expected = nadeau_bengio(levels - 0.6, 614, 154)
    assert (easy["difference_lower"], easy["difference_upper"]) == pytest.approx(expected)
    assert expected[1] - expected[0] > 0.05  # far wider than seeds alone would say: splits share rows


def test_only_splits_in_which_the_network_has_a_score_are_compared():
    frame = study([({}, np.full((12, 100), 0.7))], {(0, 0): "diverged", (0, 1): "failed"})
    assert set(baselines_table(frame, [KIND])["n_splits"]) == {10}
    assert baselines_table(frame, []).empty
    held_back = frame.assign(**{"data.val_fraction": 0.2, "final/test/accuracy": 0.5})
    kind = KIND.model_copy(update={"settings": KIND.settings | {"data.val_fraction": 0.2}})
    assert set(baselines_table(held_back, [kind])["network"]) == {0.5}
    assert baselines_table(frame, [kind]).empty


@pytest.mark.parametrize(
    "content",
    ["", "[" * 100_000, "{}", '{"floors": 3}', "\xff", '[{"settings": 1}]', '[{"settings": {}, "seeds": 3}]',
     '[{"settings":{},"seeds":[1],"n_train":1,"n_test":1,"accuracy":{"a":[0.5,0.6]}}]'],
)  # fmt: skip
def test_a_file_that_holds_no_baselines_is_ignored(tmp_path, content):
    (tmp_path / FILE).write_text(content, encoding="latin-1")
    assert read_baselines(tmp_path) == []
    (tmp_path / FILE).unlink()
    assert read_baselines(tmp_path) == []
    (tmp_path / "elsewhere").write_text("[]")
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    assert read_baselines(tmp_path) == []
