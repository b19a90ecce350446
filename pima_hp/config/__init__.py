"""The typed settings of a run, the options of `conf/`, and the classes that `_target_` names. No torch at import."""

from pima_hp.config.component import Component, Section
from pima_hp.config.sections import (
    MAX_SEED,
    ActivationSection,
    BatchSection,
    CallbackSection,
    Config,
    DataSection,
    ModelSection,
    OptimizerSection,
    SchedulerSection,
    Seed,
    Seeds,
)
from pima_hp.config.trainer import EngineSection, TrainerSection

__all__ = [
    "MAX_SEED",
    "ActivationSection",
    "BatchSection",
    "CallbackSection",
    "Component",
    "Config",
    "DataSection",
    "EngineSection",
    "ModelSection",
    "OptimizerSection",
    "SchedulerSection",
    "Section",
    "Seed",
    "Seeds",
    "TrainerSection",
]
