"""The known-answer check of the kernel: its answers are torch's, and a kernel that differs does not pass.

Make the answers again after a change of the cases: `python -m tests.training.test_known_answers`
"""

import json
import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pima_hp.training.fused import known_answers
from pima_hp.training.fused.compiled import Kind, kernel
from pima_hp.training.fused.known_answers import (
    ANSWERS,
    BATCH,
    CASES,
    N_EPOCHS,
    N_TRAIN,
    TOLERANCE,
    WIDTHS,
    Case,
    inputs,
    key,
    train,
    wrong_answer,
)
from pima_hp.training.fused.tables import ACTIVATIONS, NARROW, RULES, WIDE
from tests.training.kernels import KINDS


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    """As Lightning has it with `precision=64-true`: NAdam's product of momenta is a number of the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def made_by_torch(case: Case, member: int) -> np.ndarray:
    """(N_EPOCHS, N_SCORES): an ordinary loop of torch in double precision."""
    weights, features, labels, orders = (torch.from_numpy(array) for array in inputs(member))
    row, given = ACTIVATIONS[case.activation], case.of_member(member)
    activation = getattr(torch.nn, case.activation.rpartition(".")[2])
    arguments = {row.argument: case.argument[member]} if row.argument else {}
    layers = []
    for before, after in zip(WIDTHS, (*WIDTHS[1:], 1), strict=True):
        layers += [torch.nn.Linear(before, after, dtype=torch.float64), activation(**arguments)]
    model = torch.nn.Sequential(*layers[:-1])
    torch.nn.utils.vector_to_parameters(weights, model.parameters())
    if "beta1" in given:
        given["betas"] = (given.pop("beta1"), given.pop("beta2"))
    if "schedule_decay" in given:
        given["momentum_decay"] = np.log(given.pop("schedule_decay")) / np.log(0.96)
    flags = {"torch.optim.SGD": {"nesterov": case.flag}, "torch.optim.RMSprop": {"centered": case.flag}}
    optimizer = getattr(torch.optim, case.optimizer.rpartition(".")[2])(
        model.parameters(), **given, **flags.get(case.optimizer, {})
    )
    history = []
    for epoch in range(N_EPOCHS):
        rows = orders[epoch] if case.shuffled else torch.arange(N_TRAIN)
        running = []
        for batch in rows.split(BATCH):
            logits = model(features[batch]).squeeze(1)
            running.append((logits.detach(), labels[batch]))
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(logits, labels[batch]).backward()
            optimizer.step()
        scored = [tuple(torch.cat(parts) for parts in zip(*running, strict=True))]
        with torch.no_grad():
            logits = model(features).squeeze(1)
        scored += [(logits[part], labels[part]) for part in (slice(N_TRAIN), slice(N_TRAIN, None))]
        scores = []
        for logits, truth in scored:
            scores += [((logits.sigmoid() > 0.5) == (truth > 0.5)).double().mean(),
                       F.binary_cross_entropy_with_logits(logits, truth)]  # fmt: skip
        history.append(scores)
    return np.array(history)


def answers() -> dict[str, list]:
    return {key(case): [made_by_torch(case, member).tolist() for member in range(2)] for case in CASES}


def test_the_cases_cover_every_row_of_the_tables() -> None:
    assert {case.activation for case in CASES} == set(ACTIVATIONS)
    assert {case.optimizer for case in CASES} == set(RULES)
    assert {(case.optimizer, case.flag) for case in CASES} >= {("torch.optim.SGD", True), ("torch.optim.RMSprop", True)}


def test_the_stored_answers_are_those_of_torch() -> None:
    stored, made = json.loads(ANSWERS.read_text(encoding="utf-8")), answers()
    assert set(stored) == set(made)
    for name, of_members in made.items():
        np.testing.assert_allclose(stored[name], of_members, rtol=0, atol=1e-13, err_msg=name)
        assert np.abs(np.diff(np.array(of_members)[..., 1::2], axis=1)).min() > 1e-4, "each epoch changes each loss"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_gives_the_known_answers(kind: Kind) -> None:
    """Reached: 8e-8 in float32, 2e-16 in float64. The check tolerates far more, for the sake of other processors."""
    found = np.array([train(kernel(kind), kind, case) for case in CASES])
    expected = np.array(list(answers().values()))
    assert np.abs(found - expected).max() < {"float32": 1e-6, "float64": 1e-14}[kind.dtype] < TOLERANCE[kind.dtype]
    assert wrong_answer(kernel(kind), kind) == ""


def test_the_check_takes_less_than_30_ms() -> None:
    """The best of five, since other processes share the cores."""
    kind = KINDS[0]
    loaded, seconds = kernel(kind), []
    for _ in range(5):
        known_answers._answers.cache_clear()
        began = time.perf_counter()
        known_answers.wrong_answer(loaded, kind)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.03


@pytest.mark.parametrize("case", CASES, ids=key)
def test_a_kernel_that_is_wrong_in_one_case_does_not_pass(case: Case) -> None:
    """Of each case, another batch, activation, rule or flag is noticed, and fewer watched rows."""
    kind = KINDS[0]
    row, rule = ACTIVATIONS[case.activation], RULES[case.optimizer]
    changes = {"size": -1, "n_val": -1}
    flagged = case.optimizer in ("torch.optim.SGD", "torch.optim.RMSprop")
    for changed in [*changes, "activation", "rule", *(["flag"] if flagged else [])]:

        def other(changed: str = changed, **values: int) -> None:
            here = (values["activation"], values["rule"], values["flag"]) == (row.code, rule.code, case.flag)
            if here and changed in changes:
                values[changed] += changes[changed]
            elif here and changed == "flag":
                values["flag"] = 1 - values["flag"]
            elif here:
                values[changed] = (values[changed] + 3) % (9 if changed == "activation" else 7)
            kernel(kind)(**values)

        assert wrong_answer(other, kind).startswith(f"{case.activation} with {case.optimizer} is off by"), changed


def test_a_kernel_of_another_kind_does_not_pass() -> None:
    narrow, wide = Kind(NARROW, "float32"), Kind(WIDE, "float32")
    assert " is off by " in wrong_answer(kernel(narrow), wide)


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    ANSWERS.write_text(json.dumps(answers(), indent=1) + "\n", encoding="utf-8")
