"""The page in a real browser: nothing complains, nothing is asked for, everything is there."""

import pytest

from pima_hp.report.build import write_report
from tests.report.browser import PROGRAM, Browser
from tests.report.conftest import results_of
from tests.report.test_page import ARTICLE, XSS

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on this machine: apt-get install chromium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_a_report_is_drawn_without_a_complaint_or_a_request(make_study, tmp_path, browser, width, dark):
    page = write_report(results_of(make_study(ARTICLE, 12), tmp_path / "study"))
    browser.open(page, width, 900, dark)
    assert browser.evaluate("document.querySelectorAll('.verdicts tbody tr').length") >= 4
    stills = browser.evaluate("[...document.querySelectorAll('[data-chart]')].every((one) => one.querySelector('svg'))")
    assert stills
    browser.draw_all()
    drawn = "[...document.querySelectorAll('[data-chart]')].filter((one) => one.querySelector('.live svg path')).length"
    assert browser.evaluate(drawn) == browser.evaluate("document.querySelectorAll('figure').length") >= 6
    assert browser.evaluate("document.documentElement.scrollWidth") == width  # nothing sticks out
    assert browser.complaints() == []
    assert browser.requests() == [page.resolve().as_uri()]


WAITING = "#batch_size-waiting .live svg"
TOLD = "document.querySelector('#vg-tooltip-element.visible')?.innerText ?? ''"
DIMMED = f"document.querySelectorAll('{WAITING} [opacity=\"0.15\"]').length"


def test_a_pointer_is_answered_anywhere_in_a_panel_and_leaves_nothing_behind(make_study, tmp_path, browser):
    browser.open(write_report(results_of(make_study(ARTICLE, 12), tmp_path / "study")), 1280, 900)
    browser.draw_all()
    browser.evaluate("document.querySelector('.more details').open = true")
    assert browser.evaluate("document.querySelector('.more dl').clientWidth") > 1000  # the whole row is for the reasons
    browser.point_at(WAITING, 0.4, 0.3)
    assert all(text in browser.evaluate(TOLD) for text in ("epoch", "batch size 5", "batch size 32"))
    assert browser.evaluate(DIMMED) == 3 * 4  # band, line, name and its thin line of the three others
    browser.point_at("h1", 0.5, 0.5)
    assert browser.evaluate(TOLD) == ""
    assert browser.evaluate(DIMMED) == 0
    browser.point_at("#batch_size-curves .live svg", 0.2, 0.1)
    assert all(text in browser.evaluate(TOLD) for text in ("epoch", "training (running)", "test"))
    assert browser.complaints() == []


def test_on_paper_reasons_are_open_and_pictures_still(make_study, tmp_path, browser):
    browser.open(write_report(results_of(make_study(ARTICLE, 12), tmp_path / "study")), 718, 1000)
    browser.draw_all()

    def heights(name: str) -> list[float]:
        return browser.evaluate(f"[...document.querySelectorAll('{name}')].map((one) => one.checkVisibility() ? "
                                "one.getBoundingClientRect().height : 0)")  # fmt: skip

    names = (".more dl", ".still", ".live", ".readings")
    assert [max(heights(name)) > 0 for name in names] == [False, False, True, False]
    browser.ask("Emulation.setEmulatedMedia", media="print")
    assert [min(heights(name)) > 0 for name in names] == [True, True, False, False]
    browser.ask("Emulation.setEmulatedMedia", media="")
    widths = "[...document.querySelectorAll('.claim > td:nth-child(2)')].map((one) => one.clientWidth)"
    assert min(browser.evaluate(widths)) > 300


def test_hostile_values_open_no_dialog(make_study, tmp_path, browser):
    frame = make_study([{"activation": text} for text in XSS[::3]], 1, epochs=4).assign(message=XSS[::3])
    page = write_report(results_of(frame, tmp_path / "study", notes=XSS))
    browser.open(page, 1280, 900)
    browser.draw_all()
    browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.evaluate("document.querySelectorAll('script').length") == 3
    assert browser.complaints() == []
    assert browser.requests() == [page.resolve().as_uri()]
