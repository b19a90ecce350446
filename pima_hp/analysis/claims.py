"""A claim is a file: what is believed about which runs, and what would support or refute it."""

import itertools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from omegaconf import OmegaConf
from pydantic import (
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pima_hp.analysis.functionals import EVENTS, Functional
from pima_hp.analysis.rules import Condition, Rule
from pima_hp.config import Component, Config, Section
from pima_hp.config.component import NamedComponent
from pima_hp.config.options import CONF, options
from pima_hp.config.problems import nearest, problems_of
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import ConfigurationError

Selector = dict[str, Any]
"""Setting -> its value."""

Text = Annotated[str, Field(min_length=1)]
Contrast = Literal["share", "mean", "slope", "difference", "ratio", "order"]
"""share: of runs that say yes (Wilson). The others are bootstrap means over seeds: mean; slope on log2 of the
setting `along`; difference: `where` minus `over`, each averaged over its configurations within a seed;
ratio: exp of that difference, for logarithms; order: P(where > over) + P(equal)/2."""


class Part(Section):
    """One quantity of a claim; functional, contrast and `along` are the claim's unless given."""

    name: Text  # a few words
    # The configurations: settings and values (a list: each of them), or a list of such groups.
    where: list[Selector] = Field(default_factory=lambda: [Selector()])
    over: list[Selector] = Field(default_factory=list)  # those compared with (difference, ratio, order)
    functional: Functional | None = None
    contrast: Contrast | None = None
    along: str | None = None
    awaits: Text | None = None  # what the project does not record yet; such a part is untestable
    beside: bool = False  # told beside the others; `all` and `any` do not mean it

    @field_validator("where", "over", mode="before")
    @classmethod
    def _one_a_configuration(cls, value: Any) -> Any:
        """Multiply lists of values out."""
        groups = value if isinstance(value, list) else [value]
        if not all(isinstance(group, Mapping) for group in groups):
            raise ValueError("must be settings and their values, or a list of such groups")
        for group in groups:
            _check_settings(group)
        rows = [[item if isinstance(item, list) else [item] for item in group.values()] for group in groups]
        return [
            dict(zip(group, values, strict=True))
            for group, row in zip(groups, rows, strict=True)
            for values in itertools.product(*row)
        ]


def _rule(value: object, info: ValidationInfo) -> Rule:
    """Parse a rule once; `margin` becomes the number of the claim."""
    if not isinstance(value, Mapping):
        raise ValueError(f"must be conditions by what they are about, such as `all: lower > 0.8`; found {value!r:.60}")  # noqa: TRY004 - pydantic collects ValueError
    entries, problems = [], []
    for target, text in value.items():
        try:
            entries.append((str(target), Condition.parsed(str(text), info.data.get("margin"))))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))
    return Rule(tuple(entries))


class Claim(Section):
    """What `conf/claim/<id>.yaml` holds."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]  # that of the file
    sentence: Text  # as a reader would say it
    source: Text  # who says so
    data: str = "shipped"  # the table that it is about: shipped, any, or (the beginning of) a SHA-256
    # Primary claims share Holm's correction, exploratory ones Benjamini's and Hochberg's, each within one folder of
    # claims: what a reader adds in a folder of their own leaves the article's claims as they are.
    family: Literal["primary", "exploratory"]
    folder: str = ""  # set by `load_claims`
    # Settings of all its configurations; what neither this nor a part names is equal among them.
    where: Selector = Field(default_factory=dict)
    functional: Functional | None = None
    contrast: Contrast | None = None
    along: str | None = None
    margin: float | None = None  # a number that rules may name
    parts: Annotated[list[Part], Field(min_length=1)]
    supported: Annotated[Rule, PlainValidator(_rule)] = Rule()  # see `pima_hp.analysis.rules`
    refuted: Annotated[Rule, PlainValidator(_rule)] = Rule()
    command: str | None = None  # makes the runs where they are missing

    @field_validator("data", mode="before")
    @classmethod
    def _table(cls, data: Any) -> Any:
        if not isinstance(data, str) or not re.fullmatch("shipped|any|[0-9a-f]{8,64}", data):
            rule = "must be shipped, any, or the SHA-256 of a table, in quotes, at least its first 8 digits"
            raise ValueError(f"{rule}; found {data!r:.80}")
        return data

    @field_validator("where")
    @classmethod
    def _settings(cls, where: Selector) -> Selector:
        _check_settings(where)
        return where

    @model_validator(mode="after")
    def _whole(self) -> Self:
        """Give parts what the claim says for all of them, then check each part and the rules."""
        for number, part in enumerate(self.parts):
            own = {key: getattr(part, key) or getattr(self, key) for key in ("functional", "contrast", "along")}
            arms = {key: [self.where | arm for arm in getattr(part, key)] for key in ("where", "over")}
            self.parts[number] = part.model_copy(update=own | arms)
        problems = [f"{part.name}: {line}" for part in self.parts if part.awaits is None for line in _problems(part)]
        names = [part.name for part in self.parts if not part.beside]
        if not names:
            problems.append("parts: at least one must not be beside")
        if len(set(names)) < len(names) or {"all", "any"} & set(names):
            problems.append(f"parts: must have different names, other than all and any; found {', '.join(names)}")
        for key in ("supported", "refuted"):
            rule: Rule = getattr(self, key)
            if not rule.entries and any(part.awaits is None for part in self.parts):
                problems.append(f"{key}: must be given")
            for target, _ in rule.entries:
                if target not in (allowed := ["all", "any", *names]):
                    problems.append(f"{key}: must be of {', '.join(allowed)}; found {target!r}{nearest(target, names)}")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def is_about(self, digest: object) -> bool:
        """Whether the claim is about the table with this SHA-256."""
        named = SHIPPED_SHA256 if self.data == "shipped" else self.data
        return self.data == "any" or str(digest).startswith(named)

    def other_table(self, digests: Iterable[object]) -> str:
        """Return why a claim cannot be tested on these tables; empty if it can, or if there are none."""
        found = sorted(set(map(str, digests)))
        if not found or any(map(self.is_about, found)):
            return ""
        own = "the shipped table" if self.data == "shipped" else f"the table with SHA-256 {self.data[:8]}..."
        names = ", ".join("the shipped one" if one == SHIPPED_SHA256 else f"SHA-256 {one[:8]}..." for one in found[:3])
        others = "another table" if len(found) == 1 else "other tables"
        return f"{self.id} is about {own}; these runs use {others} ({names})"


def load_claims(folder: Path = CONF / "claim", extra: Path | None = None) -> list[Claim]:
    """Read the claims of a folder, then those of a reader's own; all problems are found at once.

    Raises:
        ConfigurationError: `claim/H1.yaml: ...`, one line per problem.
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
                content = OmegaConf.to_container(OmegaConf.load(path))
                if content == {}:
                    problems.append(f"{name}: must hold a claim; found an empty file")
                    continue
                claim = Claim.model_validate(content).model_copy(update={"folder": str(place)})
            except ValidationError as error:
                problems += [f"{name}: {line.lstrip('.: ')}" for line in problems_of(error, "", Claim)]
            except Exception as error:  # noqa: BLE001 a YAML parser raises many kinds
                problems.append(f"{name}: must be readable as YAML; {' '.join(str(error).split())[:160]}")
            else:
                if claim.id != path.stem or claim.id in claims:
                    rule = "must be the name of the file and of no other claim"
                    problems.append(f"{name}: id: {rule}; found {claim.id!r}")
                claims[claim.id] = claim
    if problems:
        raise ConfigurationError(problems)
    return list(claims.values())


def _problems(part: Part) -> list[str]:
    """What keeps a part from being measured."""
    if part.functional is None or part.contrast is None:
        return ["must have a functional and a contrast, its own or the claim's"]
    problems = []
    if (part.contrast == "share") != (part.functional.name in EVENTS):
        problems.append(f"share must go with one of {', '.join(EVENTS)}, and these with share")
    if bool(part.over) != (part.contrast in ("difference", "ratio", "order")):
        problems.append("over must be given for difference, ratio and order, and for these alone")
    if any(arm in part.where for arm in part.over):
        problems.append("over must not be of a configuration of where")
    if part.contrast in ("share", "mean") and len(part.where) != 1:
        problems.append(f"{part.contrast} must be of one configuration; found {len(part.where)}")
    sizes = {arm.get(part.along or "", "") for arm in part.where}
    if part.contrast == "slope" and (len(sizes) < 2 or not all(isinstance(x, int | float) and x > 0 for x in sizes)):
        problems.append("slope must have `along`: a setting with two numbers above 0, or more, in where")
    return problems


def _check_settings(selector: Selector) -> None:
    """Refuse what no configuration has; classes of one's own, named by `_target_`, have free arguments."""
    kinds: dict[str, Any] = {key: field.annotation for key, field in Config.model_fields.items()}
    sections = [(key, kind) for key, kind in kinds.items() if issubclass(kind, Section)]
    named = {key for key, kind in sections if issubclass(kind, NamedComponent)}
    free = {key for key, kind in sections if kind.model_config["extra"] == "allow"}
    fields = {
        f"{key}.{name}": field for key, kind in sections for name, field in kind.model_fields.items()
        if not issubclass(kind, Component) or name not in Component.model_fields
    }  # fmt: skip
    known = {*named, *fields}
    problems = []
    for key, values in selector.items():
        for value in values if isinstance(values, list) else [values]:
            if key in named and value not in (allowed := options(key)):
                hint = nearest(str(value), allowed)
                problems.append(f"{key}: must be one of {', '.join(allowed)}; found {value!r}{hint}")
            elif field := fields.get(key):
                try:
                    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
                    adapter.validate_python(value, strict=True)
                except ValidationError as error:
                    problems += problems_of(error, key, Section)
        if key not in known and str(key).partition(".")[0] not in free:
            problems.append(f"must be of settings; found {key!r}{nearest(str(key), known)}")
    if problems:
        raise ValueError("\n".join(problems))
