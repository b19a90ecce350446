"""The recorded name of an option is a function of what is trained, whatever the command line calls it."""

import json
from pathlib import Path

import pytest
import torch

from pima_hp.config import ActivationSection, Config
from pima_hp.config.build import build
from pima_hp.config.options import NAMED_SECTIONS, option_name, options
from pima_hp.errors import ConfigurationError
from pima_hp.ledger import read_study
from tests.conftest import Command, job_of

CHOICES = [f"{group}={option}" for group in NAMED_SECTIONS for option in options(group)]
QUICK = ("trainer.max_epochs=1", "batch=full", "study=s")


@pytest.mark.parametrize("choice", CHOICES)
def test_an_option_has_its_own_name_and_keeps_it_through_the_ledger(choice: str) -> None:
    group, _, option = choice.partition("=")
    configuration = job_of(choice).config
    assert configuration.flat[group] == option
    again = Config.model_validate(json.loads(json.dumps(configuration.model_dump(by_alias=True))))
    assert again == configuration
    assert (again.id, again.flat) == (configuration.id, configuration.flat)


@pytest.mark.parametrize(
    ("overrides", "group", "name"),
    [
        ("activation._target_=torch.nn.ELU +activation.alpha=1.0", "activation", "elu"),
        ("activation=leaky_relu activation.negative_slope=0.01", "activation", "leaky_relu"),
        ("activation._target_=torch.nn.CELU", "activation", "celu"),
        ("activation._target_=torch.nn.LogSigmoid", "activation", "log_sigmoid"),
        ("optimizer=sgd_momentum optimizer.momentum=0.5", "optimizer", "sgd_momentum"),
        ("optimizer=sgd optimizer.momentum=0.9 +optimizer.nesterov=false", "optimizer", "sgd_momentum"),
        ("optimizer=sgd optimizer.momentum=0.9", "optimizer", "sgd"),
        ("optimizer=sgd_momentum optimizer.momentum=0 optimizer.nesterov=false", "optimizer", "sgd"),
        ("optimizer=sgd optimizer._target_=torch.optim.RMSprop", "optimizer", "rmsprop"),
        ("scheduler=plateau_half scheduler.factor=0.1", "scheduler", "plateau_tenth"),
        ("scheduler=plateau_tenth scheduler.factor=0.3", "scheduler", "plateau_half"),
        ("scheduler=cosine scheduler.T_max=7", "scheduler", "cosine"),
    ],
)
def test_the_name_is_that_of_the_option_with_the_class_and_the_fewest_differences(
    overrides: str, group: str, name: str
) -> None:
    configuration = job_of(*overrides.split(" ")).config
    assert configuration.flat[group] == name


def test_classes_of_torch_without_an_option_have_names_that_the_command_line_could_write() -> None:
    activations = [f"torch.nn.{name}" for name in torch.nn.modules.activation.__all__]
    optimizers = [f"torch.optim.{name}" for name in ("ASGD", "Adadelta", "LBFGS", "RAdam", "Rprop", "SparseAdam")]
    for group, targets in (("activation", activations), ("optimizer", optimizers)):
        names = {option_name(group, {"_target_": target}) for target in targets}
        assert len(names) == len(targets)
        assert all(name.isidentifier() and name == name.lower() for name in names)


def test_what_is_trained_is_what_is_recorded(command: Command, tmp_path: Path) -> None:
    done = command("-m", "activation._target_=torch.nn.ELU,torch.nn.ReLU", *QUICK)
    assert done.code == 0, done.err
    frame = read_study(tmp_path / "outputs" / "s").set_index("activation._target_")
    assert frame["activation"].to_dict() == {"torch.nn.ELU": "elu", "torch.nn.ReLU": "relu"}
    elu, relu = (frame["val/loss"][f"torch.nn.{name}"] for name in ("ELU", "ReLU"))
    assert (elu != relu).all()


def test_an_option_of_the_users_own_is_called_by_what_it_is(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "activation"
    folder.mkdir(parents=True)
    (folder / "relu_too.yaml").write_text("_target_: torch.nn.ELU\nalpha: 1.0\n", encoding="utf-8")
    done = command("--config-dir", str(tmp_path / "mine"), "activation=relu_too", *QUICK)
    assert done.code == 0, done.err
    assert read_study(tmp_path / "outputs" / "s")["activation"].tolist() == ["elu"]


def test_a_word_among_the_arguments_is_no_interpolation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIMA_HP_SECRET", "none")
    word = "${oc.env:PIMA_HP_SECRET}"
    section = ActivationSection.model_validate({"_target_": "torch.nn.GELU", "approximate": word})
    assert build(section.node, torch.nn.Module).approximate == word


NO_CLASS = [None, "", "..", "torch..nn", "torch.\0.ReLU", "torch.\ud800.ReLU", "torch." * 5000 + "ReLU"]
OTHER_KINDS = ["torch.nn.ReLU\n", "os.system", "builtins.open", "torch.load", "torch.hub.load", "torch.optim.SGD"]


@pytest.mark.parametrize("target", [*NO_CLASS, *OTHER_KINDS, "torch.nn.Module.__init__"])
def test_d12_only_a_class_of_the_kind_is_called(target: object) -> None:
    with pytest.raises(ConfigurationError, match="_target_: must be a class of the kind"):
        build({"_target_": target}, torch.nn.Module)
