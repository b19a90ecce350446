"""The known-answer check of the kernel: its answers are those of solo runs, and a kernel that differs does not pass.

Make the answers again after a change of the cases: `python -m tests.training.test_known_answers`
"""

import json
from functools import partial

import numpy as np
import pytest

from pima_hp.training.fused.compiled import Kind, kernel
from pima_hp.training.fused.cpu import CPUStack
from pima_hp.training.fused.known_answers import ANSWERS, CASES, KEYS, TOLERANCE, check, members_of, scores
from pima_hp.training.fused.tables import ACTIVATIONS, NARROW, OPTIMIZERS, WIDE
from pima_hp.training.solo import fit
from tests.training.kernels import KINDS


def made_by_lightning(dtype: str) -> dict[str, list]:
    """Case -> curves of both members."""
    return {
        case: [
            np.stack([fit(run)[0].curves[key][0] for key in KEYS], axis=-1).tolist() for run in members_of(case, dtype)
        ]
        for case in CASES
    }


def test_the_cases_cover_every_row_of_the_tables() -> None:
    optimizers = [(name, given) for _, name, given in CASES.values()]
    assert {f"torch.nn.{activation}" for activation in CASES} == set(ACTIVATIONS)
    assert {f"torch.optim.{name}" for name, _ in optimizers} == set(OPTIMIZERS)
    flagged = {f"torch.optim.{name}" for name, given in optimizers if given.keys() & {"nesterov", "centered"}}
    assert flagged == {target for target, row in OPTIMIZERS.items() if row.flag}


@pytest.mark.parametrize(("dtype", "atol"), [("float64", 1e-13), ("float32", 1e-5)])
def test_the_stored_answers_are_those_of_solo_runs(dtype: str, atol: float) -> None:
    stored, made = json.loads(ANSWERS.read_text(encoding="utf-8"))[dtype], made_by_lightning(dtype)
    assert set(stored) == set(made)
    for name, of_members in made.items():
        np.testing.assert_allclose(stored[name], of_members, rtol=0, atol=atol, err_msg=name)
        changes = np.abs(np.diff(np.array(of_members)[..., 1::2], axis=1)).max(-1)
        assert changes.min() > 1e-3, "the second epoch changes the losses of each member"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_kind_gives_the_known_answers(kind: Kind) -> None:
    """Reached: 2e-7 in float32, 6e-16 in float64. The check tolerates far more, for the sake of other processors."""
    stored = json.loads(ANSWERS.read_text(encoding="utf-8"))[kind.dtype]
    errors = [np.abs(scores(CPUStack, kind.lanes, kind.dtype, case) - np.array(stored[case])).max() for case in CASES]
    assert max(errors) < {"float32": 1e-6, "float64": 1e-14}[kind.dtype] < TOLERANCE[kind.dtype]
    check(CPUStack, kind.lanes, kind.dtype)


@pytest.mark.parametrize("case", CASES)
def test_a_kernel_that_is_wrong_in_one_case_does_not_pass(case: str) -> None:
    """Another batch, activation, rule or flag is noticed, and fewer validation rows."""
    kind = KINDS[0]
    _, optimizer, given = CASES[case]
    rule, code = OPTIMIZERS[f"torch.optim.{optimizer}"], ACTIVATIONS[f"torch.nn.{case}"].code
    flag = int(bool(given.get(rule.flag)))
    changes = {
        "size": lambda size: size - 1,
        "n_val": lambda n_val: n_val - 1,
        "activation": lambda code: (code + 3) % 9,
        "rule": lambda code: (code + 3) % 7,
        **({"flag": lambda flag: 1 - flag} if rule.flag else {}),
    }
    for changed, change in changes.items():

        def other(changed: str = changed, change=change, **values: int) -> None:
            if (values["activation"], values["rule"], values["flag"]) == (code, rule.code, flag):
                values[changed] = change(values[changed])
            kernel(kind)(**values)

        with pytest.raises(RuntimeError, match=f"^{case} with {optimizer} is off by"):
            check(partial(CPUStack, loaded=other), kind.lanes, kind.dtype)


def test_a_kernel_of_another_kind_does_not_pass() -> None:
    narrow, wide = Kind(NARROW, "float32"), Kind(WIDE, "float32")
    with pytest.raises(RuntimeError, match=" is off by "):
        check(partial(CPUStack, loaded=kernel(narrow)), wide.lanes, wide.dtype)


if __name__ == "__main__":
    ANSWERS.write_text(
        json.dumps({dtype: made_by_lightning(dtype) for dtype in ("float32", "float64")}) + "\n", encoding="utf-8"
    )
