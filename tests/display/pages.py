"""Reads pages."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
from PIL import Image

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
    """Return the tags and texts of a page."""
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open
    return reader


def labels(page):
    """Return what screen readers read at the nodes, by their names."""
    found = [
        a["aria-label"] for _, a in read(page).tags if "card" in a.get("class", "")
    ]
    return dict(label.split(", ", 1) for label in found)


def images(page):
    """Return the pixels of the images."""
    sources = [a["src"] for tag, a in read(page).tags if tag == "img"]
    data = [s.removeprefix("data:image/png;base64,") for s in sources]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(d)))) for d in data]
