"""Claims: files that say what is believed about which runs, and what would support or refute it."""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pima_hp.analysis.curves import EVENTS, Statistic
from pima_hp.analysis.decisions import Condition, Rule
from pima_hp.analysis.selection import default_settings
from pima_hp.config import Config, Section
from pima_hp.config.options import CONF, options, read_yaml
from pima_hp.config.problems import nearest, problems_of
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import ConfigurationError
from pima_hp.formatting import listed

Selector = dict[str, Any]
"""Setting -> its value."""

Text = Annotated[str, Field(min_length=1)]
Contrast = Literal["share", "mean", "slope", "difference", "ratio", "order"]
"""share: of runs that say yes (Wilson). The others are bootstrap means over seeds: mean; slope on log2 of the
setting `along`; difference: `where` minus `over`, each averaged over its configurations within a seed;
ratio: exp of that difference, for logarithms; order: P(where > over) + P(equal)/2."""

_Statistic = Annotated[Statistic | None, Field(validation_alias=AliasChoices("statistic", "functional"))]


class Part(Section):
    """One quantity of a claim; statistic, contrast and `along` are the claim's unless given."""

    name: Text  # a few words
    # The configurations: settings and values (a list: each of them), or a list of such groups.
    where: list[Selector] = Field(default_factory=lambda: [Selector()])
    over: list[Selector] = Field(default_factory=list)  # those compared with (difference, ratio, order)
    statistic: _Statistic = None
    contrast: Contrast | None = None
    along: str | None = None
    # What the project does not record yet; such a part is untestable.
    requires: Text | None = Field(default=None, validation_alias=AliasChoices("requires", "awaits"))
    # Shown with the others; the rules are not about it.
    descriptive: bool = Field(default=False, validation_alias=AliasChoices("descriptive", "beside"))

    @property
    def arms(self) -> list[Selector]:
        """Return the configurations of `where`, then those of `over`."""
        return [*self.where, *self.over]

    @field_validator("where", "over", mode="before")
    @classmethod
    def _one_per_configuration(cls, value: Any) -> Any:
        """Multiply lists of values out."""
        groups = value if isinstance(value, list) else [value]
        if not all(isinstance(group, Mapping) for group in groups):
            raise ValueError("must be settings and their values, or a list of such groups")
        rows = [[item if isinstance(item, list) else [item] for item in group.values()] for group in groups]
        return [
            _checked(dict(zip(group, values, strict=True)))
            for group, row in zip(groups, rows, strict=True)
            for values in itertools.product(*row)
        ]

    @property
    def problems(self) -> list[str]:
        """Return what keeps the part from being measured, whatever the runs."""
        if self.requires is not None:
            return []
        if self.statistic is None or self.contrast is None:
            return ["must have a statistic and a contrast, its own or the claim's"]
        sizes = {arm.get(self.along or "", "") for arm in self.where}
        is_slope, is_pair = self.contrast == "slope", self.contrast in ("difference", "ratio", "order")
        positive = all(isinstance(size, int | float) and size > 0 for size in sizes)
        requirements = {
            f"share must go with one of {listed(EVENTS)}, and these with share": (
                (self.contrast == "share") == (self.statistic.name in EVENTS)
            ),
            "over must be given for difference, ratio and order, and for these alone": bool(self.over) == is_pair,
            "over must not be of a configuration of where": all(arm not in self.where for arm in self.over),
            f"{self.contrast} must be of one configuration": is_slope or is_pair or len(self.where) == 1,
            "slope must have `along`: a setting with two or more positive numbers in where": (
                not is_slope or (len(sizes) > 1 and positive)
            ),
        }
        return [requirement for requirement, is_met in requirements.items() if not is_met]


def _rule(value: object, info: ValidationInfo) -> Rule:
    """Parse a rule once; `margin` becomes the number of the claim."""
    if not isinstance(value, Mapping):
        raise ValueError(f"must be conditions by target, such as `all: lower > 0.8`; found {value!r:.60}")  # noqa: TRY004 - pydantic collects ValueError
    margin = info.data.get("margin")
    return Rule(tuple((str(target), Condition.parsed(str(text), margin)) for target, text in value.items()))


class Claim(Section):
    """What `conf/claim/<id>.yaml` holds."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]  # that of the file
    sentence: Text  # as a reader would say it
    source: Text  # who says so
    data: Annotated[str, Field(pattern=r"^(shipped|any|[0-9a-f]{8,64})$")] = "shipped"  # a table: or its SHA-256
    # Primary claims share Holm's correction, exploratory ones Benjamini's and Hochberg's, each within one folder of
    # claims: what a reader adds in a folder of their own leaves the article's claims as they are.
    family: Literal["primary", "exploratory"]
    folder: str = ""  # set by `load_claims`
    # Settings of all its configurations; what neither this nor a part names is equal among them.
    where: Selector = Field(default_factory=dict)
    statistic: _Statistic = None
    contrast: Contrast | None = None
    along: str | None = None
    margin: float | None = None  # a number that rules may name
    parts: Annotated[list[Part], Field(min_length=1)]
    supported: Annotated[Rule, PlainValidator(_rule)] = Rule()  # see `pima_hp.analysis.decisions`
    refuted: Annotated[Rule, PlainValidator(_rule)] = Rule()
    command: str | None = None  # makes the runs where they are missing

    @field_validator("where")
    @classmethod
    def _settings(cls, where: Selector) -> Selector:
        return _checked(where)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Give parts what the claim says for all of them, then check each part and the rules."""
        for number, part in enumerate(self.parts):
            own = {key: getattr(part, key) or getattr(self, key) for key in ("statistic", "contrast", "along")}
            arms = {key: [self.where | arm for arm in getattr(part, key)] for key in ("where", "over")}
            self.parts[number] = part.model_copy(update=own | arms)
        problems = [f"{part.name}: {problem}" for part in self.parts for problem in part.problems]
        names = [part.name for part in self.parts if not part.descriptive]
        if len({"all", "any", *names}) < len(names) + 2 or not names:
            problems.append("parts: must have different names, other than all and any, one of them not descriptive")
        for key in ("supported", "refuted"):
            entries = getattr(self, key).entries
            if not entries and any(part.requires is None for part in self.parts):
                problems.append(f"{key}: must be given")
            unknown = [target for target, _ in entries if target not in ("all", "any", *names)]
            problems += [f"{key}: must be about all, any or a part; found {target!r}{nearest(target, names)}"
                         for target in unknown]  # fmt: skip
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def is_about(self, digest: object) -> bool:
        """Return whether the claim is about the table with this SHA-256."""
        own = SHIPPED_SHA256 if self.data == "shipped" else self.data
        return self.data == "any" or str(digest).startswith(own)

    def other_table(self, digests: Iterable[object]) -> str:
        """Return why a claim cannot be tested on these tables; empty if it can, or if there are none."""
        found = sorted(set(map(str, digests)))
        if not found or any(map(self.is_about, found)):
            return ""
        own = "the shipped table" if self.data == "shipped" else f"the table with SHA-256 {self.data[:8]}..."
        others = listed("the shipped one" if one == SHIPPED_SHA256 else f"SHA-256 {one[:8]}..." for one in found[:3])
        return f"{self.id} is about {own}; these runs use another table ({others})"


def load_claims(folder: Path = CONF / "claim", extra: Path | None = None) -> list[Claim]:
    """Return the claims of a folder, then those of a reader's own.

    Raises:
        ConfigurationError: `claim/H1.yaml: ...`, one line for each problem of all files.
    """
    claims: dict[str, Claim] = {}
    problems = []
    for place in filter(None, [folder, extra]):
        paths = sorted(place.glob("*.yaml"))
        problems += [] if paths else [f"{place}: must be a folder of claims, <id>.yaml; found none"]
        for path in paths:
            name = f"{place.name}/{path.name}"
            try:
                claim = Claim.model_validate(read_yaml(path)).model_copy(update={"folder": str(place)})
            except ConfigurationError as error:
                problems += error.problems
            except ValidationError as error:
                problems += [f"{name}: {line.lstrip('.: ')}" for line in problems_of(error, "", Claim)]
            else:
                if claim.id != path.stem or claim.id in claims:
                    problems.append(
                        f"{name}: id: must be the name of the file and of no other claim; found {claim.id!r}"
                    )
                claims[claim.id] = claim
    if problems:
        raise ConfigurationError(problems)
    return list(claims.values())


def _checked(selector: Selector) -> Selector:
    """Refuse settings that no configuration has, and options that do not exist."""
    known, problems = default_settings(), []
    for key, value in selector.items():
        section = Config.model_fields.get(str(key).partition(".")[0])
        has_free_arguments = (
            "." in str(key) and getattr(section and section.annotation, "model_config", {}).get("extra") == "allow"
        )
        names = options(key) if key in known and "." not in key else []
        if key not in known and not has_free_arguments:
            problems.append(f"must be of settings; found {key!r}{nearest(str(key), known)}")
        elif names and any(item not in names for item in (value if isinstance(value, list) else [value])):
            problems.append(f"{key}: must be one of {', '.join(names)}; found {value!r}{nearest(str(value), names)}")
    if problems:
        raise ValueError("\n".join(problems))
    return selector
