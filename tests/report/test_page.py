"""The page holds what it should and nothing that a value could do: FAULTS F3, F7, G1, G2, G3, G6."""

import base64
import hashlib
import json
import os
import re
import threading
import time
from dataclasses import replace

import pandas as pd
import pytest
import vl_convert

from pima_hp.analysis.baselines import Baselines
from pima_hp.analysis.claims import load_claims
from pima_hp.errors import StorageError
from pima_hp.ledger import Ledger, Manifest
from pima_hp.report.build import write_report
from pima_hp.report.results import Results
from pima_hp.report.text import write
from pima_hp.run import Run, RunStatus
from tests.ledger.conftest import configuration_of, seeds_of
from tests.ledger.conftest import results_of as results_of_run
from tests.report.conftest import Page, results_of

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


def page_of(results: Results) -> Page:
    return Page(write_report(results).read_text(encoding="utf-8"))


def checked(page: Page) -> Page:
    """Nothing but what the template has: elements, handlers, addresses, the policy and its hashes."""
    names = [name for name, _ in page.elements]
    assert not {"iframe", "object", "embed", "form", "base", "link", "img", "video", "template", "input"} & set(names)
    scripts = [attributes for name, attributes in page.elements if name == "script"]
    assert scripts in ([], [{"type": "application/json", "id": "specs"}, {}, {}])
    assert names.count("meta") == 3
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert not page.attributes("src")
    assert all(re.match(r"#|figures/|tables/|verdicts\.json", address) for address in page.attributes("href"))
    policy = next(item["content"] for name, item in page.elements if name == "meta" and "http-equiv" in item)
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    for text in page.scripts[1:]:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    return page


def test_there_are_more_than_forty_hostile_texts():
    assert len(set(XSS)) >= 45


def test_hostile_texts_are_shown_and_do_nothing(make_study, tmp_path, monkeypatch):
    monkeypatch.setattr(vl_convert, "svg_to_png", lambda *_, **__: b"")  # pixels run nothing, and take long
    frame = make_study([{"activation": text} for text in XSS], 1, epochs=4)
    frame["optimizer.<script>alert(1)</script>"] = [*XSS[:6], *XSS[:1] * (len(XSS) - 6)]
    frame["message"], frame["data_digest"] = XSS, XSS[0]
    frame["status"] = ["failed"] * 30 + ["completed"] * (len(frame) - 30)
    frame["versions"] = [json.dumps({text: text}) for text in XSS]
    claims = [
        claim.model_copy(update={"sentence": text, "source": text, "command": text})
        for claim, text in zip(load_claims(), XSS, strict=False)
    ]
    scores = {text: [0.4, 0.5, 0.6] for text in XSS}
    baselines = [Baselines(settings={}, seeds=[0, 1, 2], n_train=8, n_test=2, accuracy=scores)]
    folder = tmp_path / "<img src=x onerror=alert(1)>"
    page = checked(page_of(results_of(frame, folder, claims, notes=XSS, baselines=baselines)))
    for text in XSS[:4] + XSS[39:44]:
        assert " ".join(text.split()) in page.text
    assert "49" not in page.text.split("{{ 7")[0][-5:]
    assert "\0" not in page.text
    assert "\u202e" not in page.text
    json.loads(page.scripts[0])
    for path in (folder / "report").rglob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert "<script" not in text
        assert "<img" not in text
    markdown = (folder / "report" / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)<(script|img|svg)", markdown)


def test_the_page_has_all_its_parts(make_study, tmp_path):
    frame = make_study(ARTICLE, 12)
    results = results_of(frame, tmp_path / "article")
    page = checked(page_of(results))
    identities = page.attributes("id")
    for name in ("verdicts", "settings", "baselines", "confounded", "methods", "reproduce", "batch_size-curves",
                 "batch_size-waiting", "batch_size-volatility", "batch_size-final", "activation-learns"):  # fmt: skip
        assert name in identities, name
    assert len(set(identities)) == len(identities)
    assert set(json.loads(page.scripts[0])) == set(page.attributes("data-chart"))
    for text in (
        "What do activation and batch size do",
        "72 of 72 runs finished",
        "U(-0.05, 0.05)",
        "batch.shuffle=true",
    ):
        assert text in page.text
    assert "small over large" in page.text.partition("by batch size")[2]  # the claimed quantity beside its figure
    assert page.text.count("choices of analysis and setting") == sum(
        len(verdict.specifications) > 1 for verdict in results.verdicts
    )
    assert "tables/choices_h1.csv" in page.attributes("href")
    folder = tmp_path / "article" / "report"
    assert all(f": {claim.sentence} |" in (folder / "report.md").read_text() for claim in load_claims())
    assert (folder / "index.html").stat().st_size < 3 * 2**20
    assert {row["id"] for row in json.loads((folder / "verdicts.json").read_text())} == {
        claim.id for claim in load_claims()
    }
    numbers = pd.read_csv(folder / "tables" / "verdicts.csv")
    assert numbers.loc[numbers["value"].notna(), "config_ids"].notna().all()
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"batch_size_curves.png", "batch_size_curves.svg", "batch_size.csv", "settings.csv", "report.md"} <= names
    before = (folder / "index.html").read_bytes()
    write_report(results)
    assert (folder / "index.html").read_bytes() == before


def test_diverged_and_failed_runs_are_counted_and_listed(make_study, tmp_path):
    frame = make_study(ARTICLE, 11, diverged={0: 30})
    frame.loc[3, ["status", "message"]] = ["failed", "ValueError: a bad layer"]
    for key in ("train/accuracy", "train/accuracy_end", "val/accuracy", "train/loss"):
        frame.at[3, key] = None  # noqa: PD008 - a cell that may hold an array
    page = page_of(results_of(frame, tmp_path / "s"))
    assert "65 of 66 runs finished; 1 diverged, 1 failed" in page.text
    assert "ValueError: a bad layer" in page.text
    assert "n 10, 1 diverged, 1 failed" in page.text  # the diverged run stays in the denominator of a share


def ledger_of(folder, n_done, n_planned, status=RunStatus.COMPLETED):
    configuration = configuration_of(trainer__max_epochs=5)
    Manifest.of([Run(configuration, seeds_of(seed)) for seed in range(n_planned)], ["batch.size"]).write(folder)
    for seed in range(n_done):
        Ledger(folder).append(results_of_run(configuration, seed, status))
    return folder


@pytest.mark.parametrize("n_done", [0, 1, 3])
def test_a_study_that_is_not_complete_says_how_far_it_is(tmp_path, n_done):
    page = checked(page_of(Results.read(ledger_of(tmp_path / "s", n_done, 12), load_claims())))
    assert f"{n_done} of 12 runs finished" in page.text
    assert "The study is not complete" in page.text
    assert "11 claims cannot be tested with these runs" in page.text


def test_a_study_in_which_all_runs_failed_has_a_page(tmp_path):
    page = page_of(Results.read(ledger_of(tmp_path / "s", 4, 4, RunStatus.FAILED), load_claims()))
    assert "0 of 4 runs finished; 4 failed" in page.text


def test_a_hostile_folder_is_read_in_bounded_time_and_writes_only_its_report(tmp_path):
    folder = ledger_of(tmp_path / "s", 3, 12)
    secret = tmp_path / "secret.json"
    secret.write_text('[{"settings": {}, "seeds": [0], "n_train": 8, "n_test": 2, "accuracy": {"SECRET": [0.5]}}]')
    (folder / "baselines.json").symlink_to(secret)
    os.mkfifo(folder / "ledger" / "pipe.parquet")
    (folder / "ledger" / "link.parquet").symlink_to(secret)
    (folder / "ledger" / "noise.parquet").write_bytes(os.urandom(4096))
    bomb = "a: &a [x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(9)
    )
    bomb += (
        "hydra:\n  overrides:\n    hydra: []\n    task:\n    - $(touch /tmp/pwned)\n    - '<script>alert(1)</script>'\n"
    )
    (folder / "multirun.yaml").write_text(bomb)
    outside = {path for path in tmp_path.rglob("*") if "report" not in path.parts}
    began = time.monotonic()
    page = checked(page_of(Results.read(folder, load_claims())))
    assert time.monotonic() - began < 20
    assert {path for path in tmp_path.rglob("*") if "report" not in path.parts} == outside
    assert "SECRET" not in page.text
    assert "noise.parquet" in page.text
    assert "pima-hp-train -m '$(touch /tmp/pwned)' '<script>alert(1)</script>'" in page.text


def test_a_report_folder_that_is_a_link_is_refused(tmp_path):
    folder = ledger_of(tmp_path / "s", 1, 1)
    (tmp_path / "elsewhere").mkdir()
    (folder / "report").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="found a link"):
        write_report(Results.read(folder, []))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_two_reports_at_once_leave_one_of_them_whole(tmp_path):
    results = Results.read(ledger_of(tmp_path / "s", 1, 1), [])
    kinds = [replace(results, notes=[letter * 200_000]) for letter in "ab"]
    whole = set()
    for kind in kinds:
        whole.add(write_report(kind).read_bytes())
    threads = [threading.Thread(target=lambda kind=kind: [write_report(kind) for _ in range(5)]) for kind in kinds]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert (tmp_path / "s" / "report" / "index.html").read_bytes() in whole
    assert not list((tmp_path / "s" / "report").glob(".*"))


def test_what_is_written_has_no_lone_surrogate(tmp_path):
    assert write(tmp_path / "x" / "t", "a\ud800b").read_bytes() == b"a?b"
