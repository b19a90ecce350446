"""Claims: files that state a hypothesis about runs, and the limits that support or refute it."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from pima_hp.analysis.curves import EVENTS, Statistic
from pima_hp.analysis.decisions import Limits, Outcome, holds
from pima_hp.analysis.intervals import Inference
from pima_hp.config import Section
from pima_hp.config.options import CONF, read_yaml
from pima_hp.config.problems import problems_of
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import ConfigurationError
from pima_hp.formatting import listed

Text = Annotated[str, Field(min_length=1)]
Selector = dict[str, Any]
"""Setting -> its value."""


Selectors = Annotated[list[Selector], BeforeValidator(lambda value: value if isinstance(value, list) else [value])]
Contrast = Literal["share", "mean", "slope", "difference", "ratio", "order"]
"""share: of runs for which an event is true (Wilson). The others are bootstrap means over seeds: mean; slope on log2
of the setting `along`; difference: `where` minus `over`, each averaged over its configurations within a seed;
ratio: exp of that difference, for logarithms; order: P(where > over) + P(equal)/2."""


class _Quantity(Section):
    """The quantity to estimate, and the limits that decide about it."""

    statistic: Statistic | None = None
    contrast: Contrast | None = None
    along: str | None = None
    supported: Limits | None = None
    refuted: Limits | None = None


class Part(_Quantity):
    """One quantity of a claim; what it does not say itself is the claim's."""

    name: Text  # a few words
    # The configurations: the settings and values of one, or a list of such.
    where: Selectors = Field(default=[{}])
    over: Selectors = Field(default=[])  # those compared with (difference, ratio, order)
    requires: Text | None = None  # what the project does not record yet; such a part is untestable
    descriptive: bool = False  # shown with the others; the claim's outcome does not depend on it

    @property
    def arms(self) -> list[Selector]:
        """Return the configurations of `where`, then those of `over`."""
        return [*self.where, *self.over]

    @property
    def problem(self) -> str:
        """Return why the part cannot be estimated from any runs; empty where it can."""
        if self.requires is not None:
            return ""
        if self.statistic is None or self.contrast is None or not (self.supported or self.descriptive):
            return "must have a statistic, a contrast and `supported`, its own or the claim's"
        sizes = {arm.get(self.along or "", "") for arm in self.where}
        has_sizes = len(sizes) > 1 and all(isinstance(size, int | float) and size > 0 for size in sizes)
        rules = {
            f"share must go with one of {listed(EVENTS)}": self.contrast != "share" or self.statistic.name in EVENTS,
            "share must be of one configuration": self.contrast != "share" or len(self.where) == 1,
            "slope must have `along`: two or more positive numbers in where": self.contrast != "slope" or has_sizes,
            "over must be given for difference, ratio and order, and for these alone":
                bool(self.over) == (self.contrast in ("difference", "ratio", "order")),
        }  # fmt: skip
        return next((rule for rule, is_kept in rules.items() if not is_kept), "")

    def outcome(self, inference: Inference | None) -> Outcome:
        """Return the outcome of this part alone."""
        if inference is None:
            return Outcome.UNTESTABLE
        limits = {Outcome.SUPPORTED: self.supported, Outcome.REFUTED: self.refuted}
        return next((outcome for outcome, of in limits.items() if holds(of, inference)), Outcome.UNDECIDED)


class Claim(_Quantity):
    """The content of `conf/claim/<id>.yaml`; it is supported if all parts are, and refuted if one is."""

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

    @model_validator(mode="after")
    def _complete(self) -> Self:
        """Fill in the parts from the claim, then check them."""
        for number, part in enumerate(self.parts):
            inherited = {key: getattr(self, key) for key in _Quantity.model_fields if getattr(part, key) is None}
            arms = {key: [self.where | arm for arm in getattr(part, key)] for key in ("where", "over")}
            self.parts[number] = part = part.model_copy(update=inherited | arms)
            if part.problem:
                raise ValueError(f"{part.name}: {part.problem}")
        if all(part.descriptive for part in self.parts):
            raise ValueError("parts: must have one that is not descriptive")
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
