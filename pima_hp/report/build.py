"""The report of a study: one page that works offline, and its figures, tables and verdicts as files."""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from pima_hp.analysis import curves
from pima_hp.analysis.claims import Claim
from pima_hp.analysis.rules import Word
from pima_hp.analysis.verdicts import verdicts_json
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import StorageError
from pima_hp.report.chart import Figure
from pima_hp.report.figures import learning_curves, waiting_times
from pima_hp.report.results import Results
from pima_hp.report.rows import counted, floor_rows, parts_table, verdict_table, verdict_view
from pima_hp.report.settings import comparable, label, literal, settings_of, value_order, watched_rows
from pima_hp.report.spreads import Quantity, spreads
from pima_hp.report.style import PNG_SCALE
from pima_hp.report.tables import REACH, settings_table, summary
from pima_hp.report.text import markdown_table, plain, shown, write, write_csv

HERE = Path(__file__).parent
MOST_FACTORS = 6
MOST_LOST = 50
_TAKEN = {"verdicts", "settings", "floors", "confounded", "lost", "lost_runs", "methods", "reproduce", "specs",
          "compared"}  # fmt: skip
"""Ids of the page and names of tables that no section may have."""


def write_report(results: Results) -> Path:
    """Write `report/index.html`, `report.md`, `verdicts.json`, figures and tables below a study's folder.

    Returns:
        The page. Files of the same name are replaced, each of them whole.
    """
    folder = results.folder / "report"
    if link := next((path for path in (folder, folder / "figures", folder / "tables") if path.is_symlink()), None):
        raise StorageError(f"{str(link)!r} must be a folder of its own; found a link; remove it")
    drawn = results.factors[:MOST_FACTORS]
    names = file_names(drawn)
    said = Counter(map(label, drawn))
    titles = {literal(key, 40) if said[label(key)] > 1 else label(key).capitalize(): key for key in drawn}
    with ThreadPoolExecutor(2) as pool:  # Vega runs outside the interpreter's lock
        if drawn:
            pool.submit(_bundle)
        sections = [_section(results, factor, names[factor], title, folder, pool) for title, factor in titles.items()]
    frame = results.frame
    lost = ["run_id", "config_id", "seed", "status", "stop_epoch", "message"]
    tables = {
        "verdicts": parts_table(results),
        "settings": settings_table(frame, titles or {results.name: "batch.size"}) if len(frame) else frame[[]],
        "lost_runs": frame.loc[frame["status"] != "completed", lost],
    }
    tables |= {"floors": results.floors_table} if results.floors else {}
    choices = {verdict.claim.id: verdict.choices for verdict in results.verdicts if len(verdict.choices)}
    tables |= {f"choices_{name}": choices[claim_id] for claim_id, name in file_names(choices).items()}
    for name, table in tables.items():
        write_csv(table, folder / "tables" / f"{name}.csv")
    write(folder / "verdicts.json", verdicts_json(results.verdicts))
    write(folder / "report.md", _markdown(results, sections))
    return write(folder / "index.html", _page(results, sections, tables))


def file_names(titles: Iterable[str]) -> dict[str, str]:
    """A file name for each title, all different: `batch.size` -> `batch_size`."""
    names: dict[str, str] = {}
    for title in titles:
        stem = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:60] or "study"
        numbered = (stem, *(f"{stem}_{n}" for n in range(2, len(names) + 4)))
        names[title] = next(name for name in numbered if name not in {*_TAKEN, *names.values()})
    return names


def figures_of(results: Results, factor: str) -> dict[str, tuple[Figure, list[str]]]:
    """The article's figure of a factor, then those that its claims are about; by name, with the claims."""
    frame, claims = results.frame, [item.claim for item in results.verdicts if factor in _varied(item.claim)]
    asked = [(claim.id, part.functional) for claim in claims for part in claim.parts if part.functional]

    def about(*names: str) -> list[str]:
        return list(dict.fromkeys(claim_id for claim_id, functional in asked if functional.name in names))

    comparison = comparable(frame, [factor])
    known = comparison.frame[["n_train", "positive_rate"]].dropna().astype(float)
    positive = float(known["positive_rate"].mean()) if len(known) else None
    majority = None if positive is None else max(positive, 1 - positive)
    figures = {"curves": (learning_curves(frame, factor, majority=majority), [claim.id for claim in claims])}
    timed = ("exceeds", "never_exceeds", "reaches", "restricted_epochs")
    times = list({of.name: of for _, of in asked if of.name in timed and of.curve == "train/accuracy"}.values())
    if times or not claims:
        threshold = times[0].arguments["threshold"] if times else REACH
        strictly = bool(times) and "exceeds" in times[0].name
        figures["waiting"] = waiting_times(frame, factor, threshold, strictly=strictly), about(*timed)
    if about("learns") and positive is not None:
        level = float(curves.entropy(positive)) - 0.02
        told = f"learns below {level:.3f}"
        loss = Quantity("final training loss (nats)", "train/loss", curves.final_score, level, told)
        figures["learns"] = spreads(frame, factor, [loss], "Who learns: final training loss"), about("learns")
    if (volatile := about("log_volatility", "volatility")) and len(known):
        moving = partial(curves.log_volatility, n_train=int(known["n_train"].iloc[0]))
        volatility = Quantity("volatility of training accuracy", "train/accuracy", moving, log=True)
        figures["volatility"] = spreads(frame, factor, [volatility], "Volatility"), volatile
    watched = watched_rows(comparison)
    finals = [("training", "train/accuracy_end"), (watched, "val/accuracy")]
    scores = [Quantity(f"final {rows} accuracy", column, curves.final_score) for rows, column in finals]
    figures["final"] = spreads(frame, factor, scores, "Final accuracy"), about("final_score", "maximum")
    return figures


def _section(
    results: Results, factor: str, name: str, title: str, folder: Path, pool: ThreadPoolExecutor
) -> dict[str, Any]:
    """Draw the figures of a factor and write them and its table."""

    def drawn(item: tuple[str, tuple[Figure, list[str]]]) -> dict[str, Any]:
        kind, (figure, claims) = item
        path = f"figures/{name}_{kind}"
        svg = figure.svg()
        framed = figure.framed(svg)
        write(folder / f"{path}.svg", framed)
        write(folder / f"{path}.png", vl_convert.svg_to_png(framed, scale=PNG_SCALE))
        own = re.sub(r'(id="|url\(#)clip', rf"\1{name}-{kind}-clip", svg)  # ids of one page must differ
        return {"id": f"{name}-{kind}", "path": path, "svg": Markup(own), "title": figure.title,  # noqa: S704 - Vega escapes
                "caption": " ".join(figure.caption), "claims": claims, "spec": figure.spec}  # fmt: skip

    figures = list(pool.map(drawn, figures_of(results, factor).items()))
    table = summary(results.frame, factor)
    write_csv(table, folder / "tables" / f"{name}.csv")
    return {"title": title, "name": name, "figures": figures, "table": shown(table)}


def _varied(claim: Claim) -> set[str]:
    """Settings that a claim is about: those that tell its configurations apart."""
    arms = [arm for part in claim.parts for arm in [*part.where, *part.over]]
    return {key for arm in arms for key in arm} - set(claim.where)


def _page(results: Results, sections: list[dict[str, Any]], tables: dict[str, Any]) -> str:
    specs = {figure["id"]: figure["spec"] for section in sections for figure in section["figures"]}
    script = (HERE / "page.js").read_text(encoding="utf-8")
    scripts = [_bundle(), script] if specs else []
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=_printable, loader=jinja2.FileSystemLoader(HERE),
    )  # fmt: skip
    settings = settings_of(results.frame)

    def here(key: str) -> str:
        return ", ".join(sorted(set(settings[key]), key=value_order)[:6]) if key in settings.columns else ""

    data = json.dumps(specs, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        data = data.replace(char, f"\\u{ord(char):04x}")
    views = list(map(verdict_view, results.verdicts))
    lost = tables["lost_runs"]
    return environment.get_template("page.html").render(
        results=results, sections=sections, question=question(results), counted=counted(results.verdicts), here=here,
        told=[view for view in views if view["word"] != Word.UNTESTABLE],
        untestable=[view for view in views if view["word"] == Word.UNTESTABLE],
        settings=shown(tables["settings"]), lost=shown(lost.head(MOST_LOST)), n_lost=len(lost),
        floors=floor_rows(results), configurations=_configurations(results),
        shipped=set(results.frame.get("data_digest", ())) == {SHIPPED_SHA256},
        digests=sorted(set(results.frame.get("data_digest", ()))),
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        scripts=[Markup(text) for text in scripts], data=Markup(data), hashes=Markup(hashes),  # noqa: S704 - escaped above
    )  # fmt: skip


def question(results: Results) -> str:
    """What the study asks."""
    names = [label(factor) for factor in results.factors[:MOST_FACTORS]]
    if not names:
        return "What does one configuration of a small neural network reach?"
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    return f"What {'does' if len(names) == 1 else 'do'} {listed} do to a small neural network?"


def _configurations(results: Results) -> list[tuple[str, str, int]]:
    labels = results.manifest.labels if results.manifest else {}
    sizes = results.frame.groupby("config_id", sort=False).size()
    return [(str(key), labels.get(str(key), ""), int(n)) for key, n in sizes.items()]


def _markdown(results: Results, sections: list[dict[str, Any]]) -> str:
    pictures = [f"![{item['id']}]({item['path']}.png)" for section in sections for item in section["figures"]]
    counts = f"{results.progress}. {counted(results.verdicts)}."
    blocks = [f"# {plain(question(results))}", counts, markdown_table(verdict_table(results)), *pictures]
    return "\n\n".join(blocks) + "\n"


def _printable(value: Any) -> Any:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return literal(" ".join(value.split()) if value.strip() else value, 2_000)


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed, made to stand within a script element."""
    text: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")
