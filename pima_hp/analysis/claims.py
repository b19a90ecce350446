"""A claim is a file: what is believed about which runs, and what would support or refute it."""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from omegaconf import OmegaConf
from pydantic import Field, ValidationError, field_validator, model_validator

from pima_hp.analysis import rules
from pima_hp.analysis.functionals import EVENTS, Functional
from pima_hp.composition import CONF
from pima_hp.configuration import Component, Configuration, Section
from pima_hp.errors import ConfigurationError
from pima_hp.validation import nearest, problems_of

Selector = dict[str, Any]
"""Setting -> its value, or a list of values of which each makes a configuration of its own."""

Contrast = Literal["share", "mean", "slope", "difference", "ratio", "order"]
"""share: of runs that say yes (Wilson). The others are bootstrap means over seeds: mean; slope on log2 of
the setting `along`; difference: `where` minus `over`, each averaged over its configurations within a seed;
ratio: exp of that difference, for logarithms; order: P(where > over) + P(equal)/2."""


class Part(Section):
    """One quantity of a claim; functional, contrast and `along` are those of the claim unless given.

    Attributes:
        name: a few words.
        where: the configurations; a list is a union.
        over: those compared with (difference, ratio, order).
        awaits: what the project does not record yet; such a part is untestable.
        beside: told beside the others; `all` and `any` do not mean it.
    """

    name: Annotated[str, Field(min_length=1)]
    where: list[Selector] = Field(default=[{}])
    over: list[Selector] = []
    functional: Functional | None = None
    contrast: Contrast | None = None
    along: str | None = None
    awaits: str | None = None
    beside: bool = False

    @field_validator("where", "over", mode="before")
    @classmethod
    def _expanded(cls, value: Any) -> Any:
        """One selector a configuration: lists of values are multiplied out."""
        selectors = value if isinstance(value, list) else [value]
        if not all(isinstance(selector, Mapping) for selector in selectors):
            raise ValueError("must be settings and their values, or a list of such groups")
        if problems := [line for selector in selectors for key in selector for line in _unknown_setting(str(key))]:
            raise ValueError("\n".join(problems))
        return [arm for selector in selectors for arm in _product(selector)]


class Claim(Section):
    """What `conf/claim/<id>.yaml` holds.

    Attributes:
        id: short name; that of the file.
        sentence: as a reader would say it.
        source: who says so.
        family: primary claims share Holm's correction, exploratory ones Benjamini's and Hochberg's.
        where: settings of all configurations of the claim. What neither this nor a part names is equal
            among them: that of the study's baseline.
        supported: rule, see `pima_hp.analysis.rules`.
        refuted: rule.
        margin: a number that rules may name.
        command: makes the runs where they are missing.
    """

    id: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]
    sentence: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    family: Literal["primary", "exploratory"]
    where: Selector = {}
    functional: Functional | None = None
    contrast: Contrast | None = None
    along: str | None = None
    margin: float | None = None
    parts: Annotated[list[Part], Field(min_length=1)]
    supported: dict[str, str] = {}
    refuted: dict[str, str] = {}
    command: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Give parts what the claim says for all of them, then check each part and the rules."""
        shared = ("functional", "contrast", "along")
        parts = [
            part.model_copy(
                update={key: getattr(part, key) or getattr(self, key) for key in shared}
                | {"where": [self.where | arm for arm in part.where], "over": [self.where | arm for arm in part.over]}
            )
            for part in self.parts
        ]
        object.__setattr__(self, "parts", parts)
        problems = [f"where: {line}" for key in self.where for line in _unknown_setting(key)]
        problems += [f"parts.{number}: {line}" for number, part in enumerate(parts) for line in _problems(part)]
        names = [part.name for part in parts if not part.beside]
        if len(set(names)) < len(names) or {"all", "any"} & set(names):
            problems.append(f"parts: must have names of their own, other than all and any; found {', '.join(names)}")
        testable = any(part.awaits is None for part in parts)
        for key in ("supported", "refuted"):
            rule: dict[str, str] = getattr(self, key)
            if testable and not rule:
                problems.append(f"{key}: must be given")
            for target, condition in rule.items():
                if target not in (allowed := ["all", "any", *names]):
                    problems.append(f"{key}: must be of {', '.join(allowed)}; found {target!r}{nearest(target, names)}")
                try:
                    rules.parsed(condition, self.margin)
                except ValueError as error:
                    problems.append(f"{key}: {error}")
        if problems:
            raise ValueError("\n".join(problems))
        return self


def load_claims(folder: Path = CONF / "claim", extra: Path | None = None) -> list[Claim]:
    """Read the claims of a folder, and of a reader's own folder after them; all problems are found at once.

    Raises:
        ConfigurationError: `claim/H1.yaml: ...`, one line a problem.
    """
    claims: dict[str, Claim] = {}
    problems = []
    for place in [folder, *([extra] if extra else [])]:
        paths = sorted(place.glob("*.yaml"))
        if not paths:
            problems.append(f"{place}: must be a folder of claims, <id>.yaml; found none")
        for path in paths:
            name = f"{place.name}/{path.name}"
            try:
                claim = Claim.model_validate(OmegaConf.to_container(OmegaConf.load(path)))
            except ValidationError as error:
                problems += [f"{name}: {line}" for line in problems_of(error, "", Claim)]
            except Exception as error:  # noqa: BLE001 a YAML parser raises many kinds
                problems.append(f"{name}: must be readable as YAML; {' '.join(str(error).split())[:160]}")
            else:
                if claim.id != path.stem or claim.id in claims:
                    problems.append(f"{name}: id must be that of the file and of no other claim; found {claim.id!r}")
                claims[claim.id] = claim
    if problems:
        raise ConfigurationError(problems)
    return list(claims.values())


def _product(selector: Mapping[str, Any]) -> list[Selector]:
    values = [value if isinstance(value, list) else [value] for value in selector.values()]
    return [dict(zip(selector, combination, strict=True)) for combination in itertools.product(*values)]


def _problems(part: Part) -> list[str]:
    """What keeps a part from being measured."""
    if part.awaits is not None:
        return []
    if part.functional is None or part.contrast is None:
        return ["must have a functional and a contrast, its own or the claim's"]
    problems = []
    if (part.contrast == "share") != (part.functional.name in EVENTS):
        problems.append(f"share must go with one of {', '.join(sorted(EVENTS))}, and these with share")
    if bool(part.over) != (part.contrast in ("difference", "ratio", "order")):
        problems.append("over must be given for difference, ratio and order, and for these alone")
    if part.contrast in ("share", "mean") and len(part.where) != 1:
        problems.append(f"{part.contrast} must be of one configuration; found {len(part.where)}")
    if part.contrast == "slope":
        sizes = [arm.get(part.along or "") for arm in part.where]
        if len(set(map(str, sizes))) < 2 or not all(
            isinstance(size, int | float) and math.isfinite(size) and size > 0 for size in sizes
        ):
            problems.append("slope must have `along`: a setting with at least two numbers above 0 in where")
    return problems


def _unknown_setting(key: str) -> list[str]:
    """One line when no configuration has such a setting; classes named by `_target_` have free arguments."""
    known: dict[str, bool] = {}
    for section, field in Configuration.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Component):
            known[section] = True
        elif isinstance(kind, type) and issubclass(kind, Section):
            known |= {f"{section}.{name}": False for name in kind.model_fields}
    owner = key.rpartition(".")[0]
    return [] if key in known or known.get(owner) else [f"{key}: no such setting{nearest(key, known)}"]
