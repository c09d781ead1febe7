import re
from html.parser import HTMLParser

import numpy as np
import pytest

from sktreevae import Dendrogram
from sktreevae.display._node_contents import name_nodes
from sktreevae.display._page import format_page

VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "wbr"}


class Reader(HTMLParser):
    """Checks that tags are balanced, and collects them with their attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())


def read(page):
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    return reader


def items(page):
    return [a for _, a in read(page).tags if a.get("role") == "treeitem"]


def page_of(tree, title="tree", names=None):
    names = names or [f"cluster {label}" for label in range(tree.n_clusters)]
    return format_page(title, tree, name_nodes(tree, tree.labels, names), [])


@pytest.fixture
def chain():
    """Return a chain of 200 leaves."""
    parent = [-1]
    for node in range(0, 398, 2):
        parent += [node, node]
    height = np.zeros(399)
    height[0:398:2] = np.arange(199, 0, -1)
    return Dendrogram(parent, height, labels=np.arange(200))


@pytest.mark.parametrize("n_leaves", [1, 2, 3])
def test_each_node_is_an_item(n_leaves):
    parent = [-1, 0, 0, 1, 1][: 2 * n_leaves - 1]
    tree = Dendrogram(parent, np.arange(len(parent))[::-1], labels=[0])
    labels = [item["aria-label"].split(",")[0] for item in items(page_of(tree))]
    names = {f"cluster {i}" for i in range(n_leaves)}
    assert set(labels) == names | {f"node {i}" for i in tree.internal_nodes}


def test_a_new_page_shows_a_cut_into_twelve_clusters(chain):
    page = page_of(chain)
    n_open = sum(item.get("aria-expanded") == "true" for item in items(page))
    assert n_open == 11
    assert 'max="200" value="12"' in page


def test_ranks_follow_the_heights():
    tree = Dendrogram([-1, 0, 0, 1, 1, 2, 2], [9, 3, 4, 0, 0, 0, 0], labels=[])
    ranks = {
        item["aria-label"].split(",")[0]: int(item["data-rank"])
        for item in items(page_of(tree))
        if "data-rank" in item
    }
    assert ranks == {"node 0": 0, "node 2": 1, "node 1": 2}


def test_splits_without_support_are_marked():
    tree = Dendrogram([-1, 0, 0, 1, 1], [9, 4, 0, 0, 0], labels=[0, 1, 2])
    tree.support[:2], tree.support_error[:2] = [1.0, 0.1], [0.1, 0.1]
    page = page_of(tree)
    groups = [a.get("class") for _, a in read(page).tags if a.get("role") == "group"]
    assert groups == [None, "unsupported"]
    assert page.count("Held-out samples don't support the split.") == 1
    assert "1 ± 0.1 nats" in page
    note = "Dashed: split not supported by held-out samples."
    assert page.count(note) == 1
    tree.support[1] = 1.0
    assert note not in page_of(tree)


def test_details_have_the_probabilities_of_nodes_and_branches():
    weight = [1, 0.75, 0.25, 0.6, 0.15]
    tree = Dendrogram([-1, 0, 0, 1, 1], [9, 4, 0, 0, 0], [0, 1, 2], weight)
    texts = read(page_of(tree)).texts
    for text in ("75%", "80% to cluster 0", "20% to cluster 1", "25% given node 0"):
        assert text in texts


@pytest.mark.parametrize(
    "name",
    [
        "</script><b>",
        "<img src=x onerror=alert(1)>",
        "\"'&amp;",
        "$title",
        "\x00\ud800",
    ],
)
def test_names_are_text(name):
    tree = Dendrogram([-1, 0, 0], [1, 0, 0], labels=[0, 1])
    page = page_of(tree, title=name, names=[name, "other"])
    plain = page_of(tree, title="title", names=["name", "other"])
    tags = [tag for tag, _ in read(page).tags]
    assert tags == [tag for tag, _ in read(plain).tags]
    assert name in read(page).texts or name == "\x00\ud800"


def test_the_page_refers_to_nothing_outside(tree):
    page = page_of(tree)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)
    for _, attributes in read(page).tags:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert attributes.get(name, "data:").startswith("data:")
