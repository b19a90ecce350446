"""Claims: files that state a hypothesis about runs, and the rules that support or refute it."""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BeforeValidator, Field, ValidationError, ValidationInfo, model_validator

from pima_hp.analysis.curves import EVENTS, Statistic
from pima_hp.analysis.decisions import Condition, Rule
from pima_hp.config import Section
from pima_hp.config.options import CONF, read_yaml
from pima_hp.config.problems import problems_of
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import ConfigurationError
from pima_hp.formatting import listed


def _multiplied(value: Any) -> list[dict[Any, Any]]:
    """Return one selector per configuration: lists of values are multiplied out."""
    groups = value if isinstance(value, list) else [value]
    if not all(isinstance(group, Mapping) for group in groups):
        raise ValueError("must be settings and their values, or a list of such groups")
    lists = [[item if isinstance(item, list) else [item] for item in group.values()] for group in groups]
    return [dict(zip(group, values, strict=True))
            for group, of in zip(groups, lists, strict=True) for values in itertools.product(*of)]  # fmt: skip


def _rule(value: object, info: ValidationInfo) -> Rule:
    """Parse a rule once; `margin` becomes the number of the claim."""
    if not isinstance(value, Mapping):
        raise ValueError(f"must be conditions by target, such as `all: lower > 0.8`; found {value!r:.60}")  # noqa: TRY004 - pydantic collects ValueError
    margin = info.data.get("margin")
    return Rule(tuple((str(target), Condition.parsed(str(text), margin)) for target, text in value.items()))


Text = Annotated[str, Field(min_length=1)]
Selector = dict[str, Any]
"""Setting -> its value."""

Selectors = Annotated[list[Selector], BeforeValidator(_multiplied)]
Contrast = Literal["share", "mean", "slope", "difference", "ratio", "order"]
"""share: of runs for which an event is true (Wilson). The others are bootstrap means over seeds: mean; slope on log2
of the setting `along`; difference: `where` minus `over`, each averaged over its configurations within a seed;
ratio: exp of that difference, for logarithms; order: P(where > over) + P(equal)/2."""


class _Quantity(Section):
    """The quantity to estimate."""

    statistic: Statistic | None = Field(default=None, validation_alias=AliasChoices("statistic", "functional"))
    contrast: Contrast | None = None
    along: str | None = None


class Part(_Quantity):
    """One quantity of a claim; statistic, contrast and `along` are the claim's unless given."""

    name: Text  # a few words
    # The configurations: settings and values (a list: each of them), or a list of such groups.
    where: Selectors = Field(default=[{}])
    over: Selectors = Field(default=[])  # those compared with (difference, ratio, order)
    # What the project does not record yet; such a part is untestable.
    requires: Text | None = Field(default=None, validation_alias=AliasChoices("requires", "awaits"))
    # Shown with the others; the rules are not about it.
    descriptive: bool = Field(default=False, validation_alias=AliasChoices("descriptive", "beside"))

    @property
    def arms(self) -> list[dict[str, Any]]:
        """Return the configurations of `where`, then those of `over`."""
        return [*self.where, *self.over]

    @property
    def problems(self) -> list[str]:
        """Return why the part cannot be estimated from any runs."""
        statistic, contrast = self.statistic, self.contrast
        if self.requires is not None:
            return []
        if statistic is None or contrast is None:
            return ["must have a statistic and a contrast, its own or the claim's"]
        sizes = {arm.get(self.along or "", "") for arm in self.where}
        has_sizes = len(sizes) > 1 and all(isinstance(size, int | float) and size > 0 for size in sizes)
        is_event, is_pair = statistic.name in EVENTS, contrast in ("difference", "ratio", "order")
        problems = {
            f"share must go with one of {listed(EVENTS)}, and these with share": (contrast == "share") != is_event,
            "over must be given for difference, ratio and order, and for these alone": bool(self.over) != is_pair,
            "over must not be of a configuration of where": any(arm in self.where for arm in self.over),
            f"{contrast} must be of one configuration": contrast in ("share", "mean") and len(self.where) != 1,
            "slope must have `along`: two or more positive numbers in where": contrast == "slope" and not has_sizes,
        }
        return [problem for problem, is_found in problems.items() if is_found]


class Claim(_Quantity):
    """The content of `conf/claim/<id>.yaml`."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$")]  # the name of the file
    sentence: Text  # the claim in plain words
    source: Text  # where it comes from
    data: Annotated[str, Field(pattern=r"^(shipped|any|[0-9a-f]{8,64})$")] = "shipped"  # a table: or its SHA-256
    # Primary claims share Holm's correction, exploratory ones Benjamini's and Hochberg's, each within one folder of
    # claims: claims in a user's own folder do not change those of the article.
    family: Literal["primary", "exploratory"]
    folder: str = ""  # set by `load_claims`
    # Settings of all its configurations; what neither this nor a part names is equal among them.
    where: Selector = Field(default={})
    margin: float | None = None  # a number that rules may name
    parts: Annotated[list[Part], Field(min_length=1)]
    supported: Annotated[Rule, BeforeValidator(_rule)] = Rule()  # see `pima_hp.analysis.decisions`
    refuted: Annotated[Rule, BeforeValidator(_rule)] = Rule()
    command: str | None = None  # makes the runs where they are missing

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Fill in the parts from the claim, then check each part and the rules."""
        for number, part in enumerate(self.parts):
            own = {key: getattr(part, key) or getattr(self, key) for key in _Quantity.model_fields}
            arms = {key: [self.where | arm for arm in getattr(part, key)] for key in ("where", "over")}
            self.parts[number] = part.model_copy(update=own | arms)
        problems = [f"{part.name}: {problem}" for part in self.parts for problem in part.problems]
        names = [part.name for part in self.parts if not part.descriptive]
        if len({"all", "any", *names}) < len(names) + 2 or not names:
            problems.append("parts: must have different names, other than all and any, one of them not descriptive")
        for key, rule in {"supported": self.supported, "refuted": self.refuted}.items():
            if not rule.entries and any(part.requires is None for part in self.parts):
                problems.append(f"{key}: must be given")
            others = [target for target, _ in rule.entries if target not in ("all", "any", *names)]
            problems += [f"{key}: must be about all, any or a part; found {of!r}" for of in others]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def is_about(self, digest: object) -> bool:
        """Return whether the claim is about the table with this SHA-256."""
        return self.data == "any" or str(digest).startswith(SHIPPED_SHA256 if self.data == "shipped" else self.data)

    def other_table(self, digests: Iterable[object]) -> str:
        """Return why a claim cannot be tested on these tables; empty if it can, or if there are none."""
        found = sorted(set(map(str, digests)))
        if not found or any(map(self.is_about, found)):
            return ""
        return f"{self.id} is about another table (data: {self.data}); these runs use SHA-256 {listed(found)}"


def load_claims(folder: Path = CONF / "claim", extra: Path | None = None) -> list[Claim]:
    """Return the claims of a folder, then the claims of the user's own folder.

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
                problems += [f"{name}: {line.lstrip('.: ')}" for line in problems_of(error)]
            else:
                if claim.id != path.stem or claim.id in claims:
                    problems.append(f"{name}: id: must equal the file name and be unique; found {claim.id!r}")
                claims[claim.id] = claim
    if problems:
        raise ConfigurationError(problems)
    return list(claims.values())
