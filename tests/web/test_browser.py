"""The pages in a real browser: Debian's Chromium, driven by Playwright."""

import shutil
from importlib import resources

import pytest

from nethical.audit.operations import operation

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: apt install chromium"
)
PAGES = [
    *("/", "/runs", "/operations", "/models", "/drift", "/configurations"),
    *("/review", "/review/cases"),
]
NARROW, WIDE = {"width": 320, "height": 640}, {"width": 1200, "height": 800}
SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="module")
def chromium():
    """One browser for all tests here; its loop would be in the way of others."""
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


EVERY_RULE = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
SEEN_RULES = ["color-contrast", "target-size"]  # what the scheme and the width may change
QUICKER = "Autofocus processing was blocked"  # who types sooner than the page is done


class Visitor:
    """Somebody at a page, who hears of dialogs and of what the console says."""

    def __init__(self, chromium, url, **settings):
        self.context = chromium.new_context(base_url=url, **settings)
        self.page = self.context.new_page()
        self.dialogs, self.complaints = [], []
        self.page.on("dialog", self._dialog)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _said(self, said):
        if not said.text.startswith(QUICKER):
            self.complaints.append(said.text)

    def _dialog(self, dialog):
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def sign_in(self, name, password):
        self.page.goto("/sign-in")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url("**/")
        return self.page


@pytest.fixture
def visit(site, near, chromium):
    """Let somebody visit the pages of a server."""
    visitors = []

    def come(name, **settings):
        visitor = Visitor(chromium, near.url, **settings)
        visitors.append(visitor)
        visitor.sign_in(name, site.password)
        return visitor

    yield come
    for visitor in visitors:
        assert visitor.dialogs == []
        assert visitor.complaints == []
        visitor.context.close()


def answer(page, word, why=""):
    """Take the next case and answer it with the mouse."""
    page.goto("/review")
    page.get_by_role("button", name="Take the next case").click()
    page.get_by_role("radio", name=word).check()
    page.get_by_label("Why").fill(why)
    page.get_by_role("button", name="Submit").click()


@pytest.mark.parametrize("javascript", [True, False], ids=["with script", "without script"])
def test_a_case_is_claimed_answered_twice_and_decided_by_a_third(site, visit, javascript):
    site.enter("block")
    settings = {"java_script_enabled": javascript}
    for name, word in (("ben", "Block"), ("cleo", "Allow")):
        page = visit(name, **settings).page
        answer(page, word, f"the word of {name}")
        playwright.expect(page.get_by_role("heading", name="The model")).to_be_visible()
    page = visit("rita", **settings).page
    page.goto("/review")
    page.locator("table a").first.click()
    playwright.expect(page.get_by_text("the word of ben")).to_be_visible()
    playwright.expect(page.get_by_text("the word of cleo")).to_be_visible()
    playwright.expect(page.get_by_role("heading", name="The model")).to_be_hidden()
    page.get_by_role("radio", name="Block").check()
    page.get_by_role("button", name="Decide").click()
    playwright.expect(page.get_by_role("heading", name="The model")).to_be_visible()
    assert site.desk.queue.counts() == {"open": 0, "adjudicating": 0, "closed": 1}


@pytest.mark.parametrize("javascript", [True, False], ids=["with script", "without script"])
def test_an_approver_promotes_and_signs_out(site, passed, visit, javascript):
    page = visit("dan", java_script_enabled=javascript).page
    page.get_by_role("link", name=passed.configuration_id).first.click()
    page.locator("#promote-1").fill("better on all rows")
    page.get_by_role("button", name="Put it into production").click()
    playwright.expect(page.locator(".badges").get_by_text("production")).to_be_visible()
    assert site.desk.registry.current("actions").name == passed.model_id
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    page.goto("/models")
    assert "/sign-in" in page.url


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def test_keys_take_decide_tag_and_submit(site, visit):
    site.enter("block", "allow")
    page = visit("ben").page
    page.goto("/review")
    press(page, "n")
    page.wait_for_url("**/review/cases/*")
    press(page, "b", "6", "w")
    page.keyboard.type("a bus went by")  # keys are letters here
    press(page, "Escape", "s")
    page.get_by_role("heading", name="The model").wait_for()
    first = site.desk.queue.case(page.url.rpartition("/")[2], "ben").own.answer
    assert (first.decision, first.tags, first.rationale) == (
        "block",
        ("edge_case",),
        "a bus went by",
    )
    before = page.url
    press(page, "n")
    page.wait_for_url(lambda url: "/review/cases/" in url and url != before)
    press(page, "a", "w", "Control+Enter")
    page.get_by_role("heading", name="The model").wait_for()


def test_keys_can_be_turned_off_and_stay_off(site, visit):
    site.enter("block")
    page = visit("ben").page
    page.goto("/review")
    press(page, "n")
    page.wait_for_url("**/review/cases/*")
    page.get_by_text("Keys: decide").click()
    press(page, "b")
    assert not page.get_by_role("radio", name="Block").is_checked()
    page.reload()
    page.locator("h1").click()
    press(page, "b")
    assert not page.get_by_role("radio", name="Block").is_checked()


def test_all_of_it_can_be_done_with_the_tab_key_and_no_script(site, visit):
    """Claim and answer with Tab, Space, arrows and Enter; focus is always to be seen."""
    site.enter("block")
    page = visit("ben", java_script_enabled=False).page
    page.goto("/review")
    page.locator("button:focus", has_text="Take the next case").wait_for()
    press(page, "Enter")
    page.wait_for_url("**/review/cases/*")
    focused = page.locator(":focus")
    for _ in range(40):
        press(page, "Tab")
        assert focused.count() == 1
        if focused.get_attribute("name") == "decision":
            break
    press(page, "Space", "ArrowRight")
    for _ in range(20):
        press(page, "Tab")
        if "Submit" in (focused.text_content() or ""):
            break
    press(page, "Enter")
    page.get_by_role("heading", name="The model").wait_for()
    case_id = page.url.rpartition("/")[2]
    assert site.desk.queue.case(case_id, "ben").own.answer.decision == "block"


def test_focus_is_seen_on_everything_that_takes_it(site, visit):
    site.enter("block")
    page = visit("ada").page
    page.goto("/review")
    page.get_by_role("button", name="Take the next case").click()
    page.get_by_role("heading", name="Your decision").wait_for()
    unseen = []
    for _ in range(30):
        press(page, "Tab")
        seen = page.evaluate(
            """() => {
              const one = document.activeElement;
              const near = one.closest("label.choice") || one;
              const style = getComputedStyle(near);
              const width = parseFloat(style.outlineWidth);
              return [one.outerHTML.slice(0, 80), style.outlineStyle, width];
            }"""
        )
        if seen[1] == "none" or seen[2] < 2:
            unseen.append(seen)
    assert not [one for one in unseen if not one[0].startswith(("<body", "<main"))]


def every_page(site, page):
    """The paths of all kinds of pages."""
    (case_id, *_) = site.enter("review", "review", a_very_long_column_name_without_a_break="x" * 59)
    with operation(
        site.desk.places.audit_path, site.desk.keys, "govern move", {"reason": "x" * 99}
    ):
        pass
    found = [*PAGES, f"/review/cases/{case_id}"]
    for path, beginning in (
        *(("/runs", "/runs/"), ("/models", "/models/"), ("/drift", "/drift/")),
        *(("/configurations", "/configurations/"), ("/configurations", "/searches/")),
    ):
        page.goto(path)
        found.append(page.locator(f"td a[href^='{beginning}']").first.get_attribute("href"))
    page.goto("/models")
    page.get_by_role("button", name="Compare the two").click()
    return [*found, page.url, "/people", "/account", "/review/figures"]


def test_no_page_is_wider_than_a_phone(site, visit):
    page = visit("ada", viewport=NARROW).page
    for path in every_page(site, page):
        page.goto(path)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= NARROW["width"], (path, width)


def test_on_a_phone_what_is_changed_of_a_person_has_the_width_of_the_page(visit):
    page = visit("ada", viewport=NARROW).page
    page.goto("/people")
    page.get_by_text("Change ben").click()
    for label in ("Role", "New password", "The same again"):
        field = page.locator("details[open]").get_by_label(label)
        assert field.bounding_box()["width"] > 0.8 * NARROW["width"], label
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    page.locator("details[open]").get_by_label("Role").select_option("approver")
    page.get_by_role("button", name="Give this role").click()
    playwright.expect(page.get_by_role("status")).to_contain_text("The role is another one")


def test_the_way_in_stands_in_the_middle_and_says_what_it_is_in_one_line(served, chromium):
    page = chromium.new_page(base_url=served().url, viewport=WIDE)
    page.goto("/sign-in")
    form = page.locator("form").bounding_box()
    assert abs(form["x"] + form["width"] / 2 - WIDE["width"] / 2) < 10
    assert page.locator("main p").first.bounding_box()["height"] < 30
    page.close()


@pytest.mark.parametrize(
    ("scheme", "size", "rules"),
    [
        pytest.param("light", WIDE, EVERY_RULE, id="light desktop"),
        pytest.param("dark", NARROW, SEEN_RULES, id="dark phone"),
        pytest.param("dark", NARROW, EVERY_RULE, id="dark phone, all", marks=pytest.mark.slow),
        pytest.param("dark", WIDE, EVERY_RULE, id="dark desktop", marks=pytest.mark.slow),
        pytest.param("light", NARROW, EVERY_RULE, id="light phone", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_nothing_serious(site, visit, scheme, size, rules):
    pytest.importorskip(
        "axe_playwright_python", reason="axe is not installed: pip install axe-playwright-python"
    )
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
    visitor = visit("ada", viewport=size, color_scheme=scheme)
    page = visitor.page
    site.enter("block")
    site.answer("ben", "block")
    paths = every_page(site, page)
    page.goto("/review")
    page.get_by_role("button", name="Take the next case").click()
    paths.append(page.url)
    wrong = [(path, one) for path in paths for one in found_by_axe(page, path, axe, rules)]
    page.get_by_role("button", name="Sign out").click()
    wrong += [("/sign-in", one) for one in found_by_axe(page, "/sign-in", axe, rules)]
    visitor.complaints.clear()  # axe asks for more than the policy allows
    assert wrong == []


def found_by_axe(page, path, axe, rules):
    """What is wrong with a page, as axe says: serious, or of WCAG 2.2 AA."""
    page.goto(path)
    page.evaluate(axe)
    told = page.evaluate(
        "rules => axe.run(document, {runOnly: rules, iframes: false, preload: false})", rules
    )
    return [
        (one["id"], one["impact"], [node["html"][:160] for node in one["nodes"]][:3])
        for one in told["violations"]
    ]


def test_no_hostile_text_runs_anywhere(poisoned, visit):
    _, paths = poisoned
    visitor = visit("rita")
    for path in paths:
        visitor.page.goto(path)
        visitor.page.mouse.move(200, 300)
        visitor.page.wait_for_timeout(100)
        if path.startswith("/drift/"):  # what was put into the stored page is refused, and told
            assert any("Refused" in said or "Blocked" in said for said in visitor.complaints)
            visitor.complaints.clear()
        assert visitor.complaints == []
        assert visitor.dialogs == []


def test_the_live_count_is_live(site, visit):
    site.enter("block")
    visitor = visit("vera")
    page = visitor.page
    page.clock.install()
    page.goto("/review")
    assert page.locator("[data-count=open]").text_content() == "1"
    site.enter("block", "block")
    with page.expect_response("**/api/v1/review/counts"):
        page.clock.run_for(31_000)
    playwright.expect(page.locator("[data-count=open]")).to_have_text("3")
