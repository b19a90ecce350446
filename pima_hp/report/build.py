"""The report of a study: one page that works offline, and its figures, tables and verdicts as files."""

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import vl_convert
from markupsafe import Markup

from pima_hp.analysis.decisions import Outcome
from pima_hp.analysis.verdicts import verdicts_json
from pima_hp.data.table import SHIPPED_SHA256
from pima_hp.errors import StorageError
from pima_hp.report.chart import Figure
from pima_hp.report.factor import estimate_texts, figures_of
from pima_hp.report.results import Results
from pima_hp.report.rows import counted, floor_rows, parts_table, verdict_table, verdict_view
from pima_hp.report.settings import (
    in_words,
    label,
    literal,
    settings_of,
    value_order,
)
from pima_hp.report.style import PNG_SCALE
from pima_hp.report.tables import settings_table, summary
from pima_hp.report.text import markdown_table, plain, shown, write, write_csv

HERE = Path(__file__).parent
MOST_FACTORS = 6
MOST_LOST = 50
MOST_READINGS = 60
MANY_PANELS = 8
"""Figures with more of them are as wide as the page."""
HERE_IN_WORDS = {
    ("data.scaling", "none"): "raw", ("data.val_fraction", "0"): "test rows are watched",
    ("data.missing", "keep"): "zeros kept",
    ("batch.shuffle", "false"): "fixed order", ("batch.shuffle", "true"): "shuffled",
}  # fmt: skip
HEADINGS = {
    "n runs": "runs", "n diverged": "diverged", "n stopped": "stopped early", "n failed": "failed",
    "final train accuracy": "final training accuracy", "reached fraction": "share of runs that reached it",
}  # fmt: skip
"""Of the table of a factor, as people read them."""
_TAKEN = {"verdicts", "settings", "baselines", "confounded", "lost", "lost_runs", "methods", "reproduce", "specs",
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
        for section in sections:  # only now, so that one section waits for no other
            section["figures"] = list(section["figures"])
            section["many"] = any(len(figure["spec"]["concat"]) > MANY_PANELS for figure in section["figures"])
    frame = results.frame
    lost = ["run_id", "config_id", "seed", "status", "stop_epoch", "message"]
    tables = {
        "verdicts": parts_table(results),
        "settings": settings_table(frame, titles or {results.name: "batch.size"}) if len(frame) else frame[[]],
        "lost_runs": frame.loc[frame["status"] != "completed", lost],
    }
    tables |= {"baselines": results.baselines_table} if results.baselines else {}
    choices = {verdict.claim.id: verdict.specifications for verdict in results.verdicts if len(verdict.specifications)}
    readings = {claim_id: f"choices_{name}" for claim_id, name in file_names(choices).items()}
    tables |= {name: choices[claim_id] for claim_id, name in readings.items()}
    for name, table in tables.items():
        write_csv(table, folder / "tables" / f"{name}.csv")
    write(folder / "verdicts.json", verdicts_json(results.verdicts))
    write(folder / "report.md", _markdown(results, sections))
    return write(folder / "index.html", _page(results, sections, tables, readings))


def file_names(titles: Iterable[str]) -> dict[str, str]:
    """A file name for each title, all different: `batch.size` -> `batch_size`."""
    names: dict[str, str] = {}
    for title in titles:
        stem = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:60] or "study"
        numbered = (stem, *(f"{stem}_{n}" for n in range(2, len(names) + 4)))
        names[title] = next(name for name in numbered if name not in {*_TAKEN, *names.values()})
    return names


def _section(
    results: Results, factor: str, name: str, title: str, folder: Path, pool: ThreadPoolExecutor
) -> dict[str, Any]:
    """Write the table of a factor, and begin to draw its figures and to write them."""

    def drawn(item: tuple[str, Figure]) -> dict[str, Any]:
        kind, figure = item
        path = f"figures/{name}_{kind}"
        svg = figure.svg()
        framed = figure.framed(svg)
        write(folder / f"{path}.svg", framed)
        write(folder / f"{path}.png", vl_convert.svg_to_png(framed, scale=PNG_SCALE))
        return {"id": f"{name}-{kind}", "path": path, "svg": Markup(svg), "title": figure.title,  # noqa: S704 - Vega escapes
                "caption": " ".join(figure.caption), "spec": figure.spec}  # fmt: skip

    figures = pool.map(drawn, figures_of(results, factor).items())
    table = summary(results.frame, factor)
    write_csv(table, folder / "tables" / f"{name}.csv")
    headings, rows = shown(table)
    plainly = [re.sub(r"^epoch of train accuracy (\S+) median$", r"median epoch at \1", text) for text in headings[1:]]
    read = [label(factor), *(HEADINGS.get(text, text) for text in plainly)]
    return {"title": title, "name": name, "figures": figures, "table": (read, rows)}


def _page(
    results: Results, sections: list[dict[str, Any]], tables: dict[str, pd.DataFrame], readings: dict[str, str]
) -> str:
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
        texts = sorted(set(settings[key]), key=value_order)[:6] if key in settings.columns else []
        return ", ".join(HERE_IN_WORDS.get((key, text), text) for text in texts)

    data = json.dumps(specs, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        data = data.replace(char, f"\\u{ord(char):04x}")
    views = list(map(verdict_view, results.verdicts))
    texts = iter(estimate_texts([part for verdict in results.verdicts for part in verdict.estimates]))
    for view, verdict in zip(views, results.verdicts, strict=True):
        view["parts"] = [{**part, "text": next(texts)} for part in view["parts"]]
        table = verdict.specifications
        view["readings"] = shown(table.head(MOST_READINGS).rename(columns=in_words)) if len(table) > 1 else None
        view["n_readings"], view["csv"] = len(table), readings.get(view["id"])
    lost, shipped = tables["lost_runs"], set(results.frame.get("data_digest", ())) == {SHIPPED_SHA256}
    return environment.get_template("page.html").render(
        results=results, sections=sections, question=question(results), counted=counted(results.verdicts), here=here,
        told=[view for view in views if view["word"] != Outcome.UNTESTABLE],
        untestable=[view for view in views if view["word"] == Outcome.UNTESTABLE],
        in_words=in_words, words=list(Outcome), settings=shown(tables["settings"]),
        lost=shown(lost.head(MOST_LOST)), n_lost=len(lost),
        floors=floor_rows(results), configurations=_configurations(results),
        shipped=shipped, cases="patients" if shipped else "rows",
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
    counts = ". ".join(filter(None, [results.progress, results.copies, counted(results.verdicts)])) + "."
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
