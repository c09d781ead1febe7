"""The page of a tree in headless Chromium."""

import json

import numpy as np
import pytest

from sktreevae import Dendrogram

from .cases import random_tree
from .chromium import Chromium, find_chromium

pytestmark = pytest.mark.skipif(
    find_chromium() is None, reason="Chromium is not installed"
)

FAILURES = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")

FOCUSED = "document.activeElement.getAttribute('aria-label').split(',')[0]"

VISIBLE = """
Array.from(document.querySelectorAll(".card"))
    .filter((card) => card.checkVisibility({ contentVisibilityAuto: true }))
    .map((card) => card.querySelector("b").textContent)
"""

TIP = """
Array.from(document.querySelectorAll(".info"))
    .filter((info) => info.checkVisibility())
    .map((info) => info.innerText).join("|")
"""


BOXES = """
Array.from(document.querySelectorAll(".branch:not([hidden]) .card"), (card) => {
    const box = card.getBoundingClientRect();
    return [box.left, box.top, box.right, box.bottom];
})
"""


@pytest.fixture(scope="module")
def browser():
    browser = Chromium()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def tree():
    tree = Dendrogram(
        [-1, 0, 0, 1, 1, 2, 2], [9, 4, 6, 0, 0, 0, 0], np.repeat(np.arange(4), 5)
    )
    tree.p_values[:3] = [0.001, 0.5, 0.01]
    return tree


@pytest.fixture(scope="module")
def path(tree, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "tree.html"
    X = np.random.default_rng(0).random((20, 64))
    tree.export_html(path, X, image_shape=(8, 8), y=np.arange(20) // 10)
    return path


@pytest.fixture
def page(browser, path):
    """Return a browser with a fresh page, which must not fail or load anything.

    Its policy refuses loads, which is written to the console.
    """
    browser.open(path)
    yield browser
    browser.evaluate("new Promise((done) => setTimeout(done))")
    assert failures(browser) == []


def failures(browser):
    """Return exceptions, and what was written to the console, as of loads refused."""
    return [event for event in browser.events if event.get("method") in FAILURES]


def card(name):
    return f'[aria-label^="{name},"]'


def test_a_fresh_page_shows_all_nodes_and_images_of_a_small_tree(page):
    assert len(page.evaluate(VISIBLE)) == 7
    widths = "Array.from(document.images).map((image) => image.naturalWidth)"
    assert page.evaluate(widths) == [8] * 7


def test_a_click_folds_and_unfolds(page):
    page.click(card("node 1"))
    folded = page.evaluate(VISIBLE)
    assert folded == ["node 0", "node 1", "node 2", "cluster 2", "cluster 3"]
    page.click(card("node 1"))
    assert len(page.evaluate(VISIBLE)) == 7


def test_arrow_keys_walk_through_the_tree(page):
    page.press(*["Tab"] * 6)  # after the controls
    assert page.evaluate(FOCUSED) == "node 0"
    for key, expected in [
        ("ArrowRight", "node 1"),
        ("ArrowRight", "cluster 0"),
        ("ArrowRight", "cluster 0"),
        ("ArrowDown", "cluster 1"),
        ("ArrowDown", "node 2"),
        ("ArrowUp", "cluster 1"),
        ("ArrowLeft", "node 1"),
        ("End", "cluster 3"),
        ("ArrowDown", "cluster 3"),
        ("Home", "node 0"),
        ("ArrowUp", "node 0"),
    ]:
        page.press(key)
        assert page.evaluate(FOCUSED) == expected
    page.press("ArrowLeft")  # folds
    assert page.evaluate(VISIBLE) == ["node 0"]
    page.press("ArrowRight")
    assert len(page.evaluate(VISIBLE)) == 7
    assert page.evaluate(FOCUSED) == "node 0"


def test_the_slider_shows_cuts(page, tree):
    for n_clusters in (1, 2, 4, 3):
        page.evaluate(
            "(() => {const cut = document.getElementById('cut');"
            f"cut.value = {n_clusters}; cut.dispatchEvent(new Event('input'));}})()"
        )
        assert len(page.evaluate(VISIBLE)) == 2 * n_clusters - 1
        shown = page.evaluate("document.getElementById('n-shown').value")
        assert shown == str(n_clusters)
    # Node 2 is higher than node 1.
    assert tree.cut(3).tolist() == [0, 0, 1, 2]
    assert "cluster 2" in page.evaluate(VISIBLE)
    assert "cluster 0" not in page.evaluate(VISIBLE)


def test_pointing_at_a_node_or_focus_shows_its_details(page):
    assert page.evaluate(TIP) == ""
    page.mouse("mouseMoved", card("node 1"))
    text = page.evaluate(TIP)
    for part in ("50% to cluster 0", "p-value", "4 nats", "10 (50% of all)"):
        assert part in text
    assert "Held-out samples don't support the split." in text
    page.mouse("mouseMoved", "header")
    assert page.evaluate(TIP) == ""
    page.press(*["Tab"] * 6)
    assert page.evaluate(TIP).startswith("node 0")
    page.press("Escape")
    assert page.evaluate(TIP) == ""


def test_cards_do_not_overlap_in_a_tree_of_a_hundred_leaves(browser, tmp_path):
    path = tmp_path / "tree.html"
    tree = random_tree(100)
    X = np.random.default_rng(0).normal(size=(len(tree.labels), 5))
    tree.export_html(path, X, y=tree.labels % 13)
    browser.open(path)
    browser.click("#unfold")
    boxes = np.array(browser.evaluate(BOXES))
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    overlap = np.minimum(high, high[:, 0]) - np.maximum(low, low[:, 0])
    is_overlapping = (overlap > 0).all(axis=2)
    assert is_overlapping.sum() == len(boxes) == 199
    assert not browser.evaluate(
        "Array.from(document.querySelectorAll('.card .name b, .card .sizes'))"
        ".some((text) => text.scrollWidth > text.clientWidth)"
    )


def test_without_scripts_all_nodes_are_shown_with_details(browser, path):
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(path)
        assert len(browser.evaluate(VISIBLE)) == 7
        browser.mouse("mouseMoved", card("node 1"))
        assert "50% to cluster 0" in browser.evaluate(TIP)
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)


def find(page, text, *keys):
    """Search a text, and return how many nodes were found."""
    page.evaluate(
        "(() => {const find = document.getElementById('find'); find.focus();"
        f"find.value = {json.dumps(text)}; find.dispatchEvent(new Event('input'));}})()"
    )
    page.press(*keys)
    return page.evaluate("document.getElementById('n-found').value")


@pytest.mark.parametrize(
    ("text", "n_found"),
    [("Cluster", 4), ("cluster 3", 1), ("node", 3), ("17", 1), ("0", 4), ("none", 0)],
)
def test_nodes_labels_and_samples_are_found(page, text, n_found):
    # Label 0 and sample 0 are of clusters 0 and 1; "node 0" and "cluster 0" match, too.
    assert find(page, text) == f"{n_found} found"
    assert page.evaluate("document.querySelectorAll('.found').length") == n_found


def test_enter_unfolds_what_is_found_in_turn(page):
    page.click("#fold")
    assert find(page, "cluster", "Enter") == "1 of 4"
    assert page.evaluate(TIP).startswith("cluster 0")
    assert find(page, "cluster", *["Enter"] * 5) == "1 of 4"
    assert find(page, "17", "Enter") == "1 of 1"
    assert page.evaluate(TIP).startswith("cluster 3")
    assert {"cluster 0", "cluster 3"} <= set(page.evaluate(VISIBLE))
    # Sample 1 and the label 1 come before all other names with this digit.
    assert find(page, "1", "Enter").startswith("1 of ")
    assert page.evaluate(TIP).startswith("node 0")


def test_the_address_unfolds_a_node(page):
    page.click("#fold")
    page.evaluate("location.hash = 'node-3'")
    page.evaluate("new Promise((done) => setTimeout(done, 50))")
    assert "cluster 0" in page.evaluate(VISIBLE)
    assert page.evaluate(TIP).startswith("cluster 0")


@pytest.mark.parametrize("n_leaves", [40, 300])
def test_deep_trees_unfold_and_fit_into_the_window(browser, tmp_path, n_leaves):
    tree, page = random_tree(n_leaves, "chain"), browser
    tree.export_html(tmp_path / "tree.html")
    page.open(tmp_path / "tree.html")
    assert len(page.evaluate(VISIBLE)) == 23  # twelve clusters
    page.click("#unfold")
    boxes = np.array(page.evaluate(BOXES))
    assert len(boxes) == tree.n_nodes
    columns = np.unique(boxes[:, 0])
    assert len(columns) == tree.n_clusters  # the depths
    assert np.diff(columns).min() > 100
    page.click("#fit")
    boxes = np.array(page.evaluate(BOXES))
    if n_leaves == 300:  # cards and their borders have at least three pixels
        assert boxes[:, 2:].max(axis=0).max() <= 1200
    else:
        assert (boxes[:, 2:].max(axis=0) <= [1400, 900]).all()
    assert failures(page) == []
