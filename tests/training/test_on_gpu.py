"""The fused engine's GPU kernel without a GPU: interpreted it equals the CPU's, and it compiles for a Hopper device."""

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from pima_hp.config.options import options
from pima_hp.data.table import SHIPPED
from pima_hp.run import Run
from pima_hp.training import fused
from pima_hp.training.fused.compiled import Kind, kernel
from pima_hp.training.fused.cpu import CPUStack
from pima_hp.training.fused.tables import WIDE
from tests.conftest import job_of

triton = pytest.importorskip("triton", reason="needs Triton, which has wheels for Linux on x86-64 alone")

MODULES = [f"pima_hp.training.fused.{name}" for name in ("triton_ops", "gpu")]
SMALL = (
    *("trainer.precision=64", "trainer.max_epochs=2", "n_replicates=2", "model.hidden_widths=[2]"),
    *("data.features=[glucose,bmi]", "data.zero_is_missing=[]", "data.scaling=standard", "batch.size=5"),
)
GROUPS = ("activation", "optimizer", "scheduler")
LONGEST = max(len(options(group)) for group in GROUPS)
CASES = [[f"{group}={options(group)[index % len(options(group))]}" for group in GROUPS] for index in range(LONGEST)]
CASES += [["batch.shuffle=true"], ["model.hidden_widths=[3,2]"], ["batch.size=7", "optimizer.lr=1e30"]]


@pytest.fixture(scope="module")
def runs_of(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "tiny.csv"
    path.write_text("".join(SHIPPED.read_text(encoding="utf-8").splitlines(keepends=True)[:16]), encoding="utf-8")
    return lambda *overrides: job_of(*SMALL, *overrides, f"data.path={path}").runs


@pytest.fixture(scope="module")
def interpreted() -> ModuleType:
    """The module as it is imported with TRITON_INTERPRET=1, in addition to the one that compiles."""
    names = {name: name.rpartition(".")[2] for name in MODULES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        for name, leaf in names.items():  # undone at the end: whoever imports them next gets those that compile
            patch.delitem(sys.modules, name, raising=False)
            patch.delattr(fused, leaf, raising=False)
        module = importlib.import_module(MODULES[-1])
        for name, leaf in names.items():
            sys.modules.pop(name)
            delattr(fused, leaf)
    return module


def curves_of(stack, n_runs: int) -> dict[str, np.ndarray]:
    stack.fit()
    return {name: curve[:n_runs] for name, curve in stack.curves.items()}


@pytest.mark.parametrize("overrides", CASES, ids=",".join)
def test_interpreted_it_gives_what_the_cpu_gives(interpreted, runs_of, overrides: list[str]) -> None:
    runs: list[Run] = runs_of(*overrides)
    on_gpu = interpreted.GPUStack(runs, torch.device("cpu"))
    on_cpu = CPUStack(runs, 1)
    found, expected = (curves_of(stack, len(runs)) for stack in (on_gpu, on_cpu))
    for name, curve in expected.items():
        np.testing.assert_allclose(found[name], curve, rtol=1e-9, err_msg=name)
    torch.testing.assert_close(
        on_gpu.vectors[: len(runs)], on_cpu.vectors[: len(runs)], rtol=1e-9, atol=0, equal_nan=True
    )


def test_every_option_is_in_a_case() -> None:
    chosen = {override for case in CASES for override in case}
    assert {f"{group}={option}" for group in GROUPS for option in options(group)} <= chosen


def test_a_kernel_that_gives_wrong_results_is_not_used_and_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's kernel in place of the GPU's, right and wrong."""
    from pima_hp.training.fused import gpu

    right = kernel(Kind(WIDE, "float64"))
    for loaded, reason in ((right, "^$"), (lambda **values: right(**{**values, "rule": 0}), "is off by")):
        monkeypatch.setattr(gpu, "GPUStack", lambda runs, _, loaded=loaded: CPUStack(runs, loaded=loaded))
        gpu.why_not_here.cache_clear()
        assert re.search(reason, gpu.why_not_here("float64"))
    gpu.why_not_here.cache_clear()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a CUDA device")
def test_without_a_device_the_reason_is_given() -> None:
    from pima_hp.training.fused import gpu

    assert gpu.why_not_here("float32").startswith("Triton does not work here")


@pytest.mark.parametrize("numbers", ["fp32", pytest.param("fp64", marks=pytest.mark.slow)])
def test_it_compiles_for_hopper_and_keeps_its_numbers_in_registers(tmp_path: Path, numbers: str) -> None:
    from pima_hp.training.fused import gpu
    from pima_hp.training.fused.tables import DOUBLES, INTEGERS, NUMBERS

    kinds = {
        **dict.fromkeys(gpu.run_block.arg_names, f"*{numbers}"),
        **dict.fromkeys(DOUBLES, "*fp64"),
        **dict.fromkeys(INTEGERS, "*i32"),
        **dict.fromkeys(("block", "worker", *NUMBERS), "i32"),
        **dict.fromkeys(gpu.SWITCHES, "constexpr"),
    }
    values = {(gpu.run_block.arg_names.index(name),): int(name != "flag") for name in gpu.SWITCHES}
    compiled = triton.compile(
        triton.compiler.ASTSource(gpu.run_block, kinds, values),
        target=triton.backends.compiler.GPUTarget("cuda", 90, 32),
        options=gpu.OPTIONS,
    )
    binary = tmp_path / "kernel.cubin"
    binary.write_bytes(compiled.asm["cubin"])
    used = subprocess.run(
        [triton.knobs.nvidia.cuobjdump.path, "-res-usage", binary], capture_output=True, text=True, check=True
    ).stdout
    assert "Function run_block" in used
    assert "STACK:0 " in used
