"""Claims: files that state a hypothesis about runs, and the limits that support or refute it."""

import math
from bisect import bisect_left
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from pima_hp.analysis.curves import EVENTS, Statistic
from pima_hp.analysis.intervals import Inference, Interval, Share, benjamini_hochberg, holm
from pima_hp.config import Section
from pima_hp.config.options import CONF, read_yaml
from pima_hp.config.problems import problems_of
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import ConfigurationError
from pima_hp.formatting import listed

Text = Annotated[str, Field(min_length=1)]
# Setting -> its value.
Selector = dict[str, Any]
Selectors = Annotated[list[Selector], BeforeValidator(lambda value: value if isinstance(value, list) else [value])]
# share: of runs for which an event is true (Wilson); earlier: of seeds under which `where` comes before `over`
# (Wilson). The others are bootstrap means over seeds: mean; slope on log2 of the setting `along`; difference: `where`
# minus `over`, each averaged over its configurations within a seed; ratio: exp of that difference, for logarithms;
# order: P(where > over) + P(equal)/2; removed: how much smaller that difference is than under the settings `instead`,
# as a share of it.
Contrast = Literal["share", "earlier", "mean", "slope", "difference", "ratio", "order", "removed"]
PAIRED = ("earlier", "difference", "ratio", "order", "removed")
SHARES = ("share", "earlier")
# Family -> how its p values are adjusted, the limit for adjusted values, the name of the correction.
FAMILIES = {"primary": (holm, 0.05, "Holm's"), "exploratory": (benjamini_hochberg, 0.10, "Benjamini's and Hochberg's")}
_MOST_REPLICATES = 10**12
_LARGEST_ALPHA, _STEPS = 0.49, 2**24


def _limits(value: Any) -> Any:
    if not isinstance(value, dict) or not value or {*value} - {"above", "below"}:
        raise ValueError(f"must say where all of the interval lies, such as {{above: 0.80}}; found {value!r:.60}")
    return value


# Where all of an interval must lie: `{above: 0.80}`, `{below: 0.50}`, or between both.
Limits = Annotated[dict[str, float], BeforeValidator(_limits)]


class Outcome(StrEnum):
    """The outcome of a claim or of one of its parts."""

    SUPPORTED = "supported"  # the interval lies within the limits that support it
    REFUTED = "refuted"  # the interval lies within the limits that refute it
    MIXED = "mixed"  # shown not to be supported, and not shown to be refuted: holds in 55 % of runs
    UNDECIDED = "undecided"  # none of these
    # Runs are missing or on another table, fewer than 10 distinct replicates are complete, or no curve moves.
    UNTESTABLE = "untestable"


# A claim of several parts has the first of these that one of its parts has.
PRECEDENCE = (Outcome.REFUTED, Outcome.UNTESTABLE, Outcome.MIXED, Outcome.UNDECIDED, Outcome.SUPPORTED)


def outcome_of(parts: Collection[Outcome]) -> Outcome:
    """Return the outcome of a claim from those of its parts."""
    return next(outcome for outcome in PRECEDENCE if outcome in parts)


def within(limits: Limits | None, interval: Interval) -> bool:
    """Return whether an interval lies within the limits; never where there are none."""
    lower, upper = interval
    return limits is not None and limits.get("above", -math.inf) < lower and upper < limits.get("below", math.inf)


def p_value(limits: Limits | None, inference: Inference) -> float:
    """Return the smallest alpha at which the limits hold; 1 if it is above 0.49.

    At least `inference.smallest_alpha`: the p value of a bootstrap is an upper bound where it reaches that.
    """
    smallest, ratio = inference.smallest_alpha, _LARGEST_ALPHA / inference.smallest_alpha

    def alpha(step: int) -> float:
        return float(smallest * ratio ** (step / _STEPS))

    step = bisect_left(range(_STEPS + 1), True, key=lambda step: within(limits, inference.interval(1 - alpha(step))))
    return alpha(step) if step <= _STEPS else 1.0


def needed(limits: Limits | None, inference: Inference) -> float:
    """Return the fewest replicates at which the limits hold if the estimate stays; infinite when it must move."""
    numbers = range(_MOST_REPLICATES)
    n = bisect_left(numbers, True, inference.n, key=lambda n: within(limits, inference.with_replicates(n).interval()))
    return n if n in numbers else math.inf


def fewest(limits: Limits | None, inference: Inference) -> float:
    """Return the fewest replicates at which a share can meet the limits, all agreeing; 0 where they suffice or cannot.

    >>> fewest({"above": 0.80}, Share(10, 12))
    16
    """
    if not isinstance(inference, Share):
        return 0
    least = min(needed(limits, Share(agreeing * inference.n, inference.n)) for agreeing in (0, 1))
    return least if inference.n < least < math.inf else 0


class _Quantity(Section):
    """The quantity to estimate, and the limits that decide about it."""

    statistic: Statistic | None = None
    contrast: Contrast | None = None
    along: str | None = None
    supported: Limits | None = None
    refuted: Limits | None = None
    mixed: Limits | None = None  # where it is neither
    described_as: dict[Text, Limits] | None = None  # a qualifier of the verdict -> where it applies

    @property
    def limits(self) -> dict[Outcome, Limits]:
        """Return the limits of each outcome that has some, in the order in which they are tried."""
        stated = {Outcome.SUPPORTED: self.supported, Outcome.REFUTED: self.refuted, Outcome.MIXED: self.mixed}
        return {outcome: limits for outcome, limits in stated.items() if limits}


class Part(_Quantity):
    """One quantity of a claim; what it does not say itself is the claim's."""

    name: Text  # a few words
    # The configurations: the settings and values of one, or a list of such.
    where: Selectors = Field(default=[{}])
    over: Selectors = Field(default=[])  # those compared with (earlier, difference, ratio, order, removed)
    instead: Selector = Field(default={})  # settings under which `removed` finds the difference that it compares with
    descriptive: bool = False  # shown with the others; the claim's outcome does not depend on it

    @property
    def arms(self) -> list[Selector]:
        """Return the configurations of `where`, then those of `over`, then both with the settings of `instead`."""
        arms = [*self.where, *self.over]
        return [*arms, *(arm | self.instead for arm in arms if self.instead)]

    @property
    def problem(self) -> str:
        """Return why the part cannot be estimated from any runs; empty where it can."""
        if self.statistic is None or self.contrast is None or not (self.limits or self.descriptive):
            return "must have a statistic, a contrast and limits, its own or the claim's"
        sizes = {arm.get(self.along or "", "") for arm in self.where}
        has_sizes = len(sizes) > 1 and all(isinstance(size, int | float) and size > 0 for size in sizes)
        rules = {
            f"share must go with one of {listed(EVENTS)}": self.contrast != "share" or self.statistic.name in EVENTS,
            "share must be of one configuration": self.contrast != "share" or len(self.where) == 1,
            "slope must have `along`: two or more positive numbers in where": self.contrast != "slope" or has_sizes,
            f"over must be given for {listed(PAIRED)}, and for these alone":
                bool(self.over) == (self.contrast in PAIRED),
            "instead must be given for removed, and for it alone": bool(self.instead) == (self.contrast == "removed"),
        }  # fmt: skip
        return next((rule for rule, is_kept in rules.items() if not is_kept), "")

    def outcome(self, interval: Interval | None) -> Outcome:
        """Return the outcome of this part alone, from its 95 % interval; None where there is none.

        A part without limits that support it refutes the claim or does not stand against it.
        """
        if interval is None:
            return Outcome.UNTESTABLE
        otherwise = Outcome.UNDECIDED if self.supported else Outcome.SUPPORTED
        return next((outcome for outcome, limits in self.limits.items() if within(limits, interval)), otherwise)


class Claim(_Quantity):
    """The content of `conf/claim/<id>.yaml`; supported if all parts are, refuted if one is, else mixed if one is."""

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
    parts: Annotated[list[Part], Field(min_length=1)]
    command: str | None = None  # makes the runs where they are missing
    finding: Selector = Field(default={})  # settings that the claim is about: others are reported with and without them

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Fill in the parts from the claim, then check them."""
        for number, part in enumerate(self.parts):
            inherited = {key: getattr(self, key) for key in _Quantity.model_fields if getattr(part, key) is None}
            arms = {key: [self.where | arm for arm in getattr(part, key)] for key in ("where", "over")}
            self.parts[number] = part = part.model_copy(update=inherited | arms)
            if part.problem:
                raise ValueError(f"{part.name}: {part.problem}")
        if not any(part.supported for part in self.parts if not part.descriptive):
            raise ValueError("parts: must have one with `supported` that is not descriptive")
        return self

    def is_about(self, digest: object) -> bool:
        """Return whether the claim is about the table with this SHA-256."""
        return self.data == "any" or str(digest).startswith(SHIPPED_SHA256 if self.data == "shipped" else self.data)


def load_claims(folder: Path = CONF / "claim", extra: Path | None = None) -> list[Claim]:
    """Return the claims of a folder, then the claims of the user's own folder.

    Raises:
        ConfigurationError: `claim/H1.yaml: ...`, one line for each problem of the first bad file.
    """
    claims: dict[str, Claim] = {}
    for place in filter(None, [folder, extra]):
        paths = sorted(place.glob("*.yaml"))
        if not paths:
            raise ConfigurationError(f"{place}: must be a folder of claims, <id>.yaml; found none")
        for path in paths:
            name = f"{place.name}/{path.name}"
            try:
                claim = Claim.model_validate(read_yaml(path))
            except ValidationError as error:
                problems = [f"{name}: {line.lstrip('.: ')}" for line in problems_of(error)]
                raise ConfigurationError(problems) from None
            if claim.id != path.stem or claim.id in claims:
                raise ConfigurationError(f"{name}: id: must equal the file name and be unique; found {claim.id!r}")
            claims[claim.id] = claim.model_copy(update={"folder": str(place)})
    return list(claims.values())
