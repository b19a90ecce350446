"""The page in a real browser: nothing complains, nothing is asked for, everything is there."""

import pytest

from pima_hp.report.page import write_report
from tests.report.browser import PROGRAM, Browser
from tests.report.conftest import report_of
from tests.report.test_page import ARTICLE, XSS

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine: apt-get install chromium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_a_report_is_shown_without_a_complaint_or_a_request(make_study, tmp_path, browser, width, dark):
    page = write_report(*report_of(make_study(ARTICLE, 12), tmp_path / "study"))
    browser.open(page, width, 900, dark)
    assert browser.evaluate("document.querySelectorAll('.verdicts tbody tr').length") >= 4
    assert browser.evaluate("document.querySelectorAll('figure').length") >= 6
    assert browser.evaluate("[...document.querySelectorAll('figure')].every((one) => one.querySelector('svg path'))")
    assert browser.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
    ink = browser.evaluate("getComputedStyle(document.querySelector('.panels text')).fill")
    assert ink == ("rgb(230, 230, 230)" if dark else "rgb(34, 34, 34)")
    assert browser.complaints() == []
    assert browser.requests() == [page.resolve().as_uri()]


def test_the_numbers_of_an_epoch_are_shown_where_the_pointer_is(make_study, tmp_path, browser):
    browser.open(write_report(*report_of(make_study(ARTICLE, 12), tmp_path / "study")), 1280, 900)
    for figure, parts in (("waiting", ("epoch 30", "5: ", "32: ")), ("curves", ("epoch 31", "training: ", "test: "))):
        x, y = browser.evaluate(
            f"(() => {{ const rule = document.querySelectorAll('#batch-size-{figure} .tip line')[30];"
            "rule.scrollIntoView({block: 'center'}); const {x, y, width, height} = rule.getBoundingClientRect();"
            "return [x + width / 2, y + height / 2]; })()"
        )
        browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        (shown,) = browser.evaluate(
            "[...document.querySelectorAll('.tip text')].filter((one) => getComputedStyle(one).opacity === '1')"
            ".map((one) => one.textContent)"
        )
        assert all(part in shown for part in parts), shown


def test_on_paper_reasons_are_open(make_study, tmp_path, browser):
    browser.open(write_report(*report_of(make_study(ARTICLE, 12), tmp_path / "study")), 718, 1000)

    def heights(name: str) -> list[float]:
        return browser.evaluate(f"[...document.querySelectorAll('{name}')].map((one) => one.checkVisibility() ? "
                                "one.getBoundingClientRect().height : 0)")  # fmt: skip

    names = (".more dl", ".panels", ".specifications")
    assert [max(heights(name)) > 0 for name in names] == [False, True, False]
    browser.ask("Emulation.setEmulatedMedia", media="print")
    assert [min(heights(name)) > 0 for name in names] == [True, True, False]
    browser.ask("Emulation.setEmulatedMedia", media="")


def test_hostile_values_open_no_dialog(make_study, tmp_path, browser):
    frame = make_study([{"activation": text} for text in XSS[::3]], 1, epochs=4).assign(message=XSS[::3])
    page = write_report(*report_of(frame, tmp_path / "study", notes=XSS))
    browser.open(page, 1280, 900)
    browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.evaluate("document.querySelectorAll('script').length") == 0
    assert browser.complaints() == []
    assert browser.requests() == [page.resolve().as_uri()]
