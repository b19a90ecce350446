"""The page holds what it should and nothing that a value could do: FAULTS F3, F7, G1, G2, G3, G6."""

import json
import os
import re
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pima_hp.analysis.claims import load_claims
from pima_hp.errors import StorageError
from pima_hp.ledger import Ledger, Manifest
from pima_hp.report.page import write, write_report
from pima_hp.report.study import Study
from pima_hp.run import Run
from tests.ledger.conftest import configuration_of, results_of, seeds_of
from tests.report.conftest import Page, Report, report_of

ARTICLE = [{"batch.size": size} for size in (5, 10, 16, 32)] + [{"activation": name} for name in ("tanh", "sigmoid")]
XSS = """<script>alert(1)</script>
<img src=x onerror=alert(1)>
<svg/onload=alert(1)>
<svg><script>alert(1)</script></svg>
<iframe src="javascript:alert(1)"></iframe>
<body onload=alert(1)>
<a href="javascript:alert(1)">x</a>
javascript:alert(1)
"><script>alert(1)</script>
'><script>alert(1)</script>
" onmouseover="alert(1)
' onfocus='alert(1)' autofocus='
</script><script>alert(1)</script>
</ScRiPt ><ScRiPt>alert(1)</ScRiPt>
</style><script>alert(1)</script>
</title><script>alert(1)</script>
</textarea><script>alert(1)</script>
--><script>alert(1)</script>
<!--<script>alert(1)//-->
<![CDATA[<script>alert(1)</script>]]>
]]><script>alert(1)</script>
<scr<script>ipt>alert(1)</scr</script>ipt>
<<SCRIPT>alert(1);//<</SCRIPT>
<IMG SRC=&#106;&#97;&#118;&#97;&#115;&#99;&#114;&#105;&#112;&#116;:alert(1)>
&lt;script&gt;alert(1)&lt;/script&gt;
\\u003cscript\\u003ealert(1)\\u003c/script\\u003e
%3Cscript%3Ealert(1)%3C/script%3E
<input autofocus onfocus=alert(1)>
<details open ontoggle=alert(1)>
<video><source onerror=alert(1)></video>
<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style>
<object data="data:text/html,<script>alert(1)</script>"></object>
<embed src="data:text/html,<script>alert(1)</script>">
<link rel=stylesheet href=http://evil.example/x.css>
<meta http-equiv=refresh content="0;url=http://evil.example">
<base href=http://evil.example/>
<form action=http://evil.example><button>x</button></form>
<style>@import'http://evil.example/x.css';</style>
<div style="background:url(http://evil.example)">
{{ 7 * 7 }}{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}
${alert(1)}`${alert(1)}`
datum.constructor.constructor('alert(1)')()
{"signal": "alert(1)"}
']; alert(1); //
\\'-alert(1)//
<template shadowrootmode=open><script>alert(1)</script></template>
<noscript><p title="</noscript><img src=x onerror=alert(1)>">
x\u2028alert(1)\u2029
<x contenteditable onblur=alert(1)>\u202e\0\x1b[31m
""".splitlines()


def page_of(report: Report) -> Page:
    return Page(write_report(*report).read_text(encoding="utf-8"))


def checked(page: Page) -> Page:
    """Nothing but what the template has: elements, handlers, addresses, and a policy without scripts."""
    names = [name for name, _ in page.elements]
    never = {"iframe", "object", "embed", "form", "base", "link", "img", "video", "template", "input", "script"}
    assert not never & set(names)
    assert names.count("meta") == 3
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert not page.attributes("src")
    assert all(re.match(r"#|figures/|tables/|verdicts\.json", address) for address in page.attributes("href"))
    policy = next(item["content"] for name, item in page.elements if name == "meta" and "http-equiv" in item)
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    return page


def test_hostile_texts_are_shown_and_do_nothing(make_study, tmp_path):
    assert len(set(XSS)) >= 45
    frame = make_study([{"activation": text} for text in XSS], 1, epochs=4)
    frame["optimizer.<script>alert(1)</script>"] = [*XSS[:6], *XSS[:1] * (len(XSS) - 6)]
    frame["message"], frame["data_digest"] = XSS, XSS[0]
    frame["status"] = ["failed"] * 30 + ["completed"] * (len(frame) - 30)
    frame["versions"] = [json.dumps({text: text}) for text in XSS]
    claims = [
        claim.model_copy(update={"sentence": text, "source": text, "command": text})
        for claim, text in zip(load_claims(), XSS, strict=False)
    ]
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    page = checked(page_of(report_of(frame, folder, claims, notes=XSS)))
    for text in XSS[:4] + XSS[39:44]:
        assert " ".join(text.split()) in page.text
    assert "49" not in page.text.split("{{ 7")[0][-5:]
    assert "\0" not in page.text
    assert "\u202e" not in page.text
    for path in (folder / "report").rglob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert "<script" not in text
        assert "<img" not in text


def test_the_page_has_all_its_parts(make_study, tmp_path):
    report = report_of(make_study(ARTICLE, 12), tmp_path / "article")
    page = checked(page_of(report))
    identities = page.attributes("id")
    for name in ("verdicts", "baselines", "confounded", "methods", "reproduce", "batch-size-curves",
                 "batch-size-waiting", "batch-size-volatility", "batch-size-final", "activation-learns"):  # fmt: skip
        assert name in identities, name
    assert len(set(identities)) == len(identities)
    for text in ("What do activation and batch size do", "72 of 72 runs finished", "U(-0.05, 0.05)",
                 "batch.shuffle=true", "small over large", "Fixed: ", "median epoch at 0.72"):  # fmt: skip
        assert text in page.text
    several = [verdict for verdict in report.verdicts if len(verdict.specifications) > 1]
    assert len(re.findall(r"the verdict under \d+ specifications", page.text)) == len(several) >= 3
    assert "tables/specifications_H1.csv" in page.attributes("href")
    folder = tmp_path / "article" / "report"
    assert (folder / "index.html").stat().st_size < 2 * 2**20
    for address in page.attributes("href"):
        assert address.startswith("#") or (folder / address).is_file(), address
    rows = json.loads((folder / "verdicts.json").read_text())
    assert {row["claim"] for row in rows} == {claim.id for claim in load_claims()}
    assert pd.read_csv(folder / "tables" / "verdicts.csv")["claim"].nunique() == len(rows)
    before = (folder / "index.html").read_bytes()
    write_report(*report)
    assert (folder / "index.html").read_bytes() == before


def test_lost_runs_are_counted_and_listed(make_study, tmp_path):
    frame = make_study(ARTICLE, 12, diverged={0: 30})
    frame.loc[3, ["status", "message"]] = ["failed", "ValueError: a bad layer"]
    frame.loc[25, "status"] = "stopped early"
    for key in ("train/accuracy", "train/accuracy_end", "val/accuracy", "train/loss"):
        frame.at[3, key] = None  # noqa: PD008 - a cell that may hold an array
        frame.at[25, key] = np.where(np.arange(100) < 90, 0.9, np.nan)  # noqa: PD008 - as above
    text = page_of(report_of(frame, tmp_path / "s")).text
    assert "71 of 72 runs finished; 1 of 72 diverged, 1 of 72 stopped early, 1 of 72 failed" in text
    assert "ValueError: a bad layer" in text
    assert "n 11, 1 diverged, 1 failed" in text


def test_only_the_page_of_the_shipped_table_speaks_of_it(make_study, tmp_path):
    of_the_shipped = r"(?i)glucose|pedigree|insulin|women|patients|literature|statlog|\bpima\b(?!-hp|_hp)"
    frame = make_study(ARTICLE, 12)
    shipped = page_of(report_of(frame, tmp_path / "shipped")).text
    other = page_of(report_of(frame.assign(data_digest="1a2b3c4d" * 8), tmp_path / "other")).text
    assert not re.findall(of_the_shipped, other)
    words = {word.lower() for word in re.findall(of_the_shipped, shipped)}
    assert words == {"glucose", "pedigree", "insulin", "women", "patients", "literature", "statlog", "pima"}
    assert "data.scaling=standard" in other


def test_the_title_names_the_data_and_claims_come_first_where_the_study_tests_most(make_study, tmp_path):
    frame = make_study(ARTICLE, 12)
    claims = [claim for claim in load_claims() if claim.id in ("H1", "H2", "H8")]
    page = page_of(report_of(frame, tmp_path / "article", claims))
    assert "What do activation and batch size do to a small neural network on the Pima diabetes table?" in page.text
    names = page.attributes("id")
    assert names.index("verdicts") < names.index("batch-size-curves")
    own = frame.assign(**{"data_digest": "1a2b3c4d" * 8, "data.path": "/somewhere/heart.csv"})
    page = page_of(report_of(own, tmp_path / "own", claims))
    assert "on heart.csv?" in page.text
    assert "/somewhere" not in page.text.split("Methods")[0]
    assert "These runs test none of the 3 claims" in page.text
    names = page.attributes("id")
    assert names.index("verdicts") > names.index("batch-size-curves")


def test_one_configuration_is_asked_how_well_it_learns(make_study, tmp_path):
    page = page_of(report_of(make_study(ARTICLE[:1], 12), tmp_path / "s"))
    assert "How well does a small neural network learn the Pima diabetes table?" in page.text
    assert "Its final test accuracy is 0.7" in page.text
    assert "learning-curves" in page.attributes("id")


def test_a_study_without_runs_or_with_failed_ones_alone_has_a_page(make_study, tmp_path):
    frame = make_study(ARTICLE[:1], 4)
    page = checked(page_of(report_of(frame.iloc[:0], tmp_path / "empty")))
    assert "0 of 0 runs finished" in page.text
    assert "11 claims cannot be tested with these runs" in page.text
    assert (
        "0 of 4 runs finished; 4 of 4 failed" in page_of(report_of(frame.assign(status="failed"), tmp_path / "s")).text
    )


def ledger_of(folder, n_done, n_planned):
    configuration = configuration_of(trainer__max_epochs=5)
    (folder / "ledger").mkdir(parents=True)
    Manifest.of([Run(configuration, seeds_of(seed)) for seed in range(n_planned)], ["batch.size"]).write(folder)
    for seed in range(n_done):
        Ledger(folder).append(results_of(configuration, seed))
    return folder


def _read(folder: Path) -> Report:
    study = Study.read(folder)
    return Report(study, study.verdicts())


@pytest.mark.parametrize("n_done", [0, 3])
def test_a_study_that_is_not_complete_says_how_far_it_is(tmp_path, n_done):
    page = checked(page_of(_read(ledger_of(tmp_path / "s", n_done, 12))))
    assert f"{n_done} of 12 runs finished" in page.text
    assert "11 claims cannot be tested with these runs" in page.text


def test_a_hostile_folder_is_read_in_bounded_time_and_writes_only_its_report(tmp_path):
    folder = ledger_of(tmp_path / "s", 3, 12)
    secret = tmp_path / "secret.json"
    secret.write_text("SECRET")
    (folder / "baselines.csv").symlink_to(secret)
    os.mkfifo(folder / "ledger" / "pipe.parquet")
    (folder / "ledger" / "link.parquet").symlink_to(secret)
    (folder / "ledger" / "noise.parquet").write_bytes(os.urandom(4096))
    outside = {path for path in tmp_path.rglob("*") if "report" not in path.parts}
    began = time.monotonic()
    page = checked(page_of(_read(folder)))
    assert time.monotonic() - began < 20
    assert {path for path in tmp_path.rglob("*") if "report" not in path.parts} == outside
    assert "SECRET" not in page.text
    assert "noise.parquet" in page.text


def test_a_report_folder_that_is_a_link_is_refused(make_study, tmp_path):
    report = report_of(make_study(ARTICLE[:1], 1), tmp_path / "s", [])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "s" / "report").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="found a link"):
        write_report(*report)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_two_reports_at_once_leave_one_of_them_whole(make_study, tmp_path):
    frame = make_study(ARTICLE[:1], 1)
    kinds = [report_of(frame, tmp_path / "s", [], notes=[letter * 200_000]) for letter in "ab"]
    whole = {write_report(*kind).read_bytes() for kind in kinds}
    threads = [threading.Thread(target=lambda kind=kind: [write_report(*kind) for _ in range(5)]) for kind in kinds]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert (tmp_path / "s" / "report" / "index.html").read_bytes() in whole
    assert not list((tmp_path / "s" / "report").glob(".*"))


def test_what_is_written_has_no_lone_surrogate(tmp_path):
    assert write(tmp_path / "x" / "t", "a\ud800b").read_bytes() == b"a?b"
