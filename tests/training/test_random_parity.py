"""A search for configurations in which an engine of stacks differs from solo: 40 of them in every test run.

An engine may be as far from solo as its tolerance, or as three times what noise does to solo itself (see
`sensitivity`): a training that doubles its errors at each step has no digits that two programs could share. Once noise
has moved solo by `chaotic`, nothing is compared any more. Such trainings are counted, and must be few.

The seed is printed; `PIMA_HP_TEST_SEED=<seed>` repeats it.
"""

import os
import secrets
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from pima_hp.model.module import MLPClassifier
from pima_hp.run import Results, Run
from pima_hp.training.checks import component_problems
from pima_hp.training.dispatch import stacks_of
from pima_hp.training.solo import datamodule_of, fit
from tests.random_configurations import Drawn, draw
from tests.training.conftest import ENGINES, MODULES, RunsOf, ended, scores_of, together
from tests.training.sensitivity import distance, sensitivity


@dataclass(frozen=True)
class Precision:
    """What is asked of trainings in 32 or 64 bits."""

    bits: int
    tolerance: float  # relative, of every curve
    noise: float  # with which solo is compared to itself
    chaotic: float  # moved so far by noise, a training is not compared
    share_beyond: float  # of draws in which some run may be beyond the tolerance: several times what was measured


DOUBLE = Precision(64, tolerance=1e-9, noise=1e-12, chaotic=1e-4, share_beyond=0.2)  # measured over 830 draws: 0.02
SINGLE = Precision(32, tolerance=1e-5, noise=1e-6, chaotic=1e-2, share_beyond=0.35)  # over 473 draws: 0.08


@dataclass
class Search:
    """What was found in some draws."""

    compared: dict[str, set[int]] = field(default_factory=lambda: {engine: set() for engine in ENGINES})
    beyond_tolerance: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def go(self, seeds: Iterable[int], path: str, precision: Precision) -> None:
        """Draw, train and compare; torch alone trains what no stack can hold."""
        for seed in seeds:
            drawn = draw(seed, path, precision.bits)
            for run in drawn.runs:
                assert component_problems(run.config) == [], f"draw {seed}: {drawn}"
            for chosen, stack in stacks_of(drawn.runs, together=True):
                if chosen == "solo":
                    continue
                solos = [fit(run) for run in stack]
                for engine in ENGINES:
                    module = MODULES[engine]
                    if module.why_not(stack[0].config) or len({module.stack_key(run.config) for run in stack}) > 1:
                        continue
                    self.compared[engine].add(seed)
                    for run, (solo, trained), record in zip(stack, solos, together(stack, engine), strict=True):
                        if problem := self._problem(seed, run, solo, trained, record, precision):
                            self.problems.append(f"draw {seed}, {engine}: {problem}\n{Drawn([run])}")

    def _problem(
        self, seed: int, run: Run, solo: Results, module: MLPClassifier, record: Results, precision: Precision
    ) -> str:
        apart = distance(solo, record)
        if (apart <= precision.tolerance).all():
            ends = [(*ended(one), set(scores_of(one))) for one in (record, solo)]
            if ends[0] != ends[1]:
                return f"ended as {ends[0]}, solo as {ends[1]}"
            return score_problem(run, solo, module, record) if precision is DOUBLE else ""
        self.beyond_tolerance.add(seed)
        for n_noisy in (3, 30):  # a rare event, such as a unit that dies a step later, may need many noisy runs to show
            moved = sensitivity(run, solo, precision.noise, n_noisy)
            allowed = np.where(moved > precision.chaotic, np.inf, np.maximum(precision.tolerance, 3 * moved))
            if (apart <= allowed).all():
                return ""
        return f"apart by {apart} after each epoch; noise moves solo by {moved}"


def score_problem(run: Run, solo: Results, module: MLPClassifier, record: Results) -> str:
    """What is wrong with the final scores of a run whose curves agree.

    AUROC counts pairs of a positive and a negative row. Where the network gives both the same output to rounding, it is
    rounding that orders them: such a pair may count for one engine and not for the other. torchmetrics adds up in
    single precision.
    """
    data = datamodule_of(run.config, run.seeds)
    found = scores_of(record)
    for key, score in scores_of(solo).items():
        part, _, metric = key.partition("/")
        allowed = {"loss": 1e-9 * abs(score), "accuracy": 0.0, "f1": 1e-6, "brier": 1e-6, "auroc": 1e-6}[metric]
        if metric == "auroc":
            allowed += share_of_ties(module, *data.tensors(part))
        if not abs(found[key] - score) <= allowed:
            return f"{key} is {found[key]}, solo's {score}; allowed is a difference of {allowed}"
    return ""


def share_of_ties(module: MLPClassifier, features: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of pairs of a positive and a negative row whose outputs are equal to rounding."""
    with torch.inference_mode():
        logits = module(features)
    positive, negative = logits[labels > 0.5][:, None], logits[labels <= 0.5][None]
    size = torch.maximum(positive.abs(), negative.abs()).clamp(min=1)
    same = ((positive - negative).abs() <= 1e-9 * size) | ((positive.sigmoid() - negative.sigmoid()).abs() <= 2e-15)
    return float(same.double().mean()) if same.numel() else 0.0


def search(n: int, runs_of: RunsOf, precision: Precision, capfd: pytest.CaptureFixture[str]) -> Search:
    """Search n draws from a new seed, or from that of the environment, which is printed."""
    first = int(os.environ.get("PIMA_HP_TEST_SEED") or secrets.randbelow(10**9))
    with capfd.disabled():
        sys.stderr.write(f"\nrandom parity, {precision.bits} bits, {n} draws: PIMA_HP_TEST_SEED={first}\n")
    found = Search()
    (run,) = runs_of()
    found.go(range(first, first + n), str(run.config.data.path), precision)
    n_compared = len(set.union(*found.compared.values()))
    with capfd.disabled():
        sys.stderr.write(
            f"{len(found.beyond_tolerance)} of {n_compared} draws beyond {precision.tolerance:g}, as far as rounding "
            "alone moves solo\n"
        )
    # In float32 one draw in a thousand was beyond what three noisy runs show: the sign of a gradient near 0 that
    # none of them turned, or a loss near 1e38 whose sum overflows in one order and not in another.
    unexplained = 0 if precision is DOUBLE else n // 40
    n_draws = len({problem.partition(",")[0] for problem in found.problems})
    assert n_draws <= unexplained, f"PIMA_HP_TEST_SEED={first}\n" + "\n".join(found.problems)
    few = len(found.beyond_tolerance) <= precision.share_beyond * n_compared
    assert few, f"PIMA_HP_TEST_SEED={first}: {found.beyond_tolerance}"
    assert all(len(seeds) >= n / 5 for seeds in found.compared.values()), "each engine is compared"
    return found


@pytest.mark.parametrize("precision", [DOUBLE, SINGLE], ids=["float64", "float32"])
def test_engines_equal_solo_in_40_random_configurations(
    runs_of: RunsOf, precision: Precision, capfd: pytest.CaptureFixture[str]
) -> None:
    search(40, runs_of, precision, capfd)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [DOUBLE, SINGLE], ids=["float64", "float32"])
@pytest.mark.parametrize("part", range(5))
def test_engines_equal_solo_in_500_random_configurations(
    runs_of: RunsOf, precision: Precision, part: int, capfd: pytest.CaptureFixture[str]
) -> None:
    search(100, runs_of, precision, capfd)
