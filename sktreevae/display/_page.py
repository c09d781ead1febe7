"""Format of the HTML page of a tree."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

import numpy as np

from ..tree.arrays import highest_first, leaves_below
from ..tree.export import count
from ._base import DetailedTree
from ._node_contents import N_COLORS, Difference, LabelShare, NodeContent

__all__ = ["format_page"]

MAX_SHOWN_CLUSTERS = 12
"""Maximum number of clusters that a new page shows; the others are folded."""

MAX_CARD_FEATURES = 4
"""Maximum number of features on the card of a node."""

MAX_LABELS = 6
"""Maximum number of known labels in the details of a node."""

MIN_BAR_SHARE = 0.02
"""Minimum share of a label that has a part of its own in the bar of a card."""

COLORS = (
    *("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#9c6ade"),
    *("#17a2a8", "#d37295", "#b6992d", "#9c755f", "#86bcb6"),
    *("#2f5f98", "#b35806", "#2b7a3d", "#a63a3a", "#6a3fa0"),
    *("#a0cbe8", "#ffbe7d", "#8cd17d", "#ff9d9a", "#d4a6c8"),
    "#8c95a1",
)
"""Colors of the known labels. The last one is that of all labels beyond `N_COLORS`."""

CARD_WIDTHS = {"images": "11rem", "features": "14.5rem", "plain": "9rem"}
"""Widths of cards by what they show."""

SUMMARIES = {
    "images": "Cards show the mean image, the samples and the height of the split.",
    "features": "Cards show the samples, the height of the split, and features of "
    "higher (▲) or lower (▼) mean than in the other branch.",
    "plain": "Cards show the samples and the height of the split.",
}
"""What the cards show."""


UNSUPPORTED = "Dashed: split not supported by held-out samples."
"""Explains the lines of splits that aren't supported."""


def format_page(
    title: str,
    tree: DetailedTree,
    contents: list[NodeContent],
    legend: list[LabelShare],
) -> str:
    """Return the page of a tree.

    Parameters
    ----------
    title : str
        Title of the page.
    tree : Dendrogram
        The tree.
    contents : list of NodeContent of length n_nodes
        What is shown at the nodes.
    legend : list of LabelShare
        All known labels; empty if there are none.
    """
    kind = "features" if any(content.features for content in contents) else "plain"
    if any(content.image for content in contents):
        kind = "images"
    n_shown = min(tree.n_clusters, MAX_SHOWN_CLUSTERS)
    clusters = count(tree.n_clusters, "cluster", "clusters")
    notes = [SUMMARIES[kind]] + [UNSUPPORTED] * (not tree.is_supported.all())
    template = files(__package__).joinpath("tree_page.html").read_text("utf-8")
    return Template(template).substitute(
        title=escape(title),
        summary=f"{clusters}, {_count(contents[0])}. {' '.join(notes)}",
        width=CARD_WIDTHS[kind],
        n_leaves=tree.n_clusters,
        n_shown=n_shown,
        levels="".join(f'<option value="{k}"></option>' for k in tree.levels()),
        disabled=" disabled" if tree.n_clusters == 1 else "",
        legend=_legend(legend),
        tree=_Nodes(tree, contents).nested_lists(n_shown),
    )


class _Nodes:
    """HTML of the nodes of a tree.

    Parameters
    ----------
    tree : Dendrogram
        The tree.
    contents : list of NodeContent of length n_nodes
        What is shown at the nodes.
    """

    def __init__(self, tree: DetailedTree, contents: list[NodeContent]) -> None:
        self.tree = tree
        self.contents = contents
        self.n_leaves = leaves_below(tree.parent, tree.leaves).sum(axis=1)

    def children(self, node: int) -> tuple[int, int]:
        return int(self.tree.children_left[node]), int(self.tree.children_right[node])

    def share(self, node: int) -> float:
        """Return the share of the samples."""
        return self.contents[node].n_samples / max(self.contents[0].n_samples, 1)

    def nested_lists(self, n_shown: int) -> str:
        """Return the tree as nested lists, unfolded into some clusters."""
        tree = self.tree
        # As in `Dendrogram.cut`, a cut into k clusters has the k - 1 highest splits.
        splits = highest_first(tree.height, tree.leaf_label)
        rank = {int(node): i for i, node in enumerate(splits)}
        text: dict[int, str] = {}
        for node in range(tree.n_nodes - 1, -1, -1):
            attributes, branches = "", ""
            if node in rank:
                is_open = "true" if rank[node] < n_shown - 1 else "false"
                attributes = f' aria-expanded="{is_open}" data-rank="{rank[node]}"'
                style = "" if tree.is_supported[node] else ' class="unsupported"'
                items = "".join(text.pop(child) for child in self.children(node))
                branches = f'<ul role="group"{style}>\n{items}</ul>'
            text[node] = (
                f'<li role="treeitem" tabindex="{-1 if node else 0}"{attributes} '
                f'aria-label="{escape(self.label(node))}">{self.card(node)}{branches}'
                "</li>\n"
            )
        return text[0]

    def label(self, node: int) -> str:
        """Return what a screen reader reads."""
        content = self.contents[node]
        parts = [content.name, _count(content), _percent(self.share(node))]
        if self.tree.leaf_label[node] < 0:
            parts.append(f"height {self.tree.height[node]:.3g} nats")
        features = content.features[:MAX_CARD_FEATURES]
        parts += [f"{'more' if d.effect > 0 else 'less'} {d.feature}" for d in features]
        parts += [f"{_percent(s.share)} {s.label}" for s in content.labels[:1]]
        return ", ".join(parts)

    def card(self, node: int) -> str:
        """Return the visible card of a node, and its hidden details."""
        content = self.contents[node]
        image = f'<img alt="" src="{content.image}">' if content.image else ""
        fold, height = "", ""
        if self.tree.leaf_label[node] < 0:
            fold = f'<span class="fold" data-leaves="{self.n_leaves[node]}"></span>'
            height = f'<div class="height">{self.tree.height[node]:.3g} nats</div>'
        features = "".join(map(_card_feature, content.features[:MAX_CARD_FEATURES]))
        return (
            f'<div class="card"><div class="body">{image}<div class="lines">'
            f'<div class="name"><b>{escape(content.name)}</b>{fold}</div>'
            f'<div class="sizes"><b>{content.n_samples:,}</b> '
            f"{escape(_percent(self.share(node)))}</div>{height}{features}</div></div>"
            f'{_mix_bar(content)}<div class="share"><i style="width:'
            f'{100 * self.share(node):.4g}%"></i></div>'
            f'<div class="info">{self.details(node)}</div></div>'
        )

    def details(self, node: int) -> str:
        """Return what is shown when a node is pointed at."""
        content = self.contents[node]
        title, facts = escape(content.name), _facts_table(self.facts(node))
        text = f'<div class="facts"><div><h2>{title}</h2>{facts}</div></div>'
        if not self.tree.is_supported[node]:
            text += '<p class="warning">Held-out samples don\'t support the split.</p>'
        text += _label_table(content.labels)
        if content.split:
            left, right = (self.contents[child] for child in self.children(node))
            title = "Features that tell the branches apart"
            text += _feature_table(title, content.split, left.name, right.name)
        elif content.features:
            sibling = self.contents[self.sibling(node)]
            title = "Features that differ from the other branch"
            text += _feature_table(title, content.features, content.name, sibling.name)
        return text

    def sibling(self, node: int) -> int:
        left, right = self.children(int(self.tree.parent[node]))
        return right if node == left else left

    def facts(self, node: int) -> list[tuple[str, str]]:
        """Return the numbers of a node by their names."""
        tree = self.tree
        share = _percent(self.share(node))
        facts = [("samples", f"{self.contents[node].n_samples:,} ({share} of all)")]
        weight, parent = tree.weight, int(tree.parent[node])
        if weight[0] > 0:
            facts.append(("probability", _percent(weight[node])))
        if node and weight[parent] > 0:
            name = self.contents[parent].name
            text = f"{_percent(weight[node] / weight[parent])} given {name}"
            facts.append(("", text))
        if tree.leaf_label[node] >= 0:
            return facts
        facts.append(("clusters", str(self.n_leaves[node])))
        facts.append(("height", f"{tree.height[node]:.3g} nats"))
        if weight[node] > 0:
            for title, child in zip(("split", ""), self.children(node), strict=True):
                share = _percent(weight[child] / weight[node])
                facts.append((title, f"{share} to {self.contents[child].name}"))
        support, error = tree.support[node], tree.support_error[node]
        if np.isfinite(support):
            facts.append(("support", f"{support:.3g} ± {error:.1g} nats"))
        return facts


def _count(content: NodeContent) -> str:
    return count(content.n_samples, "sample", "samples")


def _percent(share: float) -> str:
    """Return a share as a percentage, with a decimal place if it is small."""
    if 0 < share < 0.001:
        return "<0.1%"
    return f"{100 * share:.{0 if share >= 0.1 else 1}f}%"


def _facts_table(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{k}</th><td>{escape(text)}</td></tr>" for k, text in facts)
    return f"<table>{rows}</table>"


def _card_feature(difference: Difference) -> str:
    direction = "up" if difference.effect > 0 else "down"
    return (
        f'<div class="feature {direction}"><span>{escape(difference.feature)}</span>'
        f"<span>{difference.mean:.3g}</span></div>"
    )


def _feature_table(
    title: str, differences: list[Difference], name: str, other: str
) -> str:
    """Return a table of the means in two branches, with the effect sizes."""
    columns = (escape(name), escape(other), "effect size")
    head = "".join(f'<th class="number">{column}</th>' for column in columns)
    rows = "".join(
        f"<tr><td>{escape(d.feature)}</td>"
        f'<td class="number">{d.mean:.3g}</td>'
        f'<td class="number">{d.other_mean:.3g}</td>'
        f'<td class="number">{d.effect:+.2f}</td></tr>'
        for d in differences
    )
    return f"<h3>{title}</h3><table><tr><th></th>{head}</tr>{rows}</table>"


def _label_table(labels: list[LabelShare]) -> str:
    """Return a table of the most frequent known labels."""
    if not labels:
        return ""
    rows = [
        (_swatch(share.label, share.color), share.share)
        for share in labels[:MAX_LABELS]
    ]
    if len(labels) > MAX_LABELS:
        rest = sum(share.share for share in labels[MAX_LABELS:])
        rows.append((f"{len(labels) - MAX_LABELS} others", rest))
    body = "".join(
        f"<tr><td>{name}</td><td>{escape(_percent(share))}</td></tr>"
        for name, share in rows
    )
    return f"<h3>Known labels</h3><table>{body}</table>"


def _mix_bar(content: NodeContent) -> str:
    """Return a bar with the shares of the known labels; rare ones are one part."""
    parts = [(s.share, s.color) for s in content.labels if s.share >= MIN_BAR_SHARE]
    rest = 1.0 - sum(share for share, _ in parts)
    if parts and rest > 1e-9:
        parts.append((rest, N_COLORS))
    bar = "".join(
        f'<i style="flex-grow:{share:.4f};--color:{COLORS[color]}"></i>'
        for share, color in parts
    )
    return f'<div class="mix">{bar}</div>' if bar else ""


def _legend(labels: list[LabelShare]) -> str:
    """Return the colors of the known labels."""
    shares = sorted(labels, key=lambda share: share.color)[:N_COLORS]
    swatches = [_swatch(share.label, share.color) for share in shares]
    if len(labels) > N_COLORS:
        swatches.append(_swatch("other labels", N_COLORS))
    return f'<div class="legend">{"".join(swatches)}</div>' if swatches else ""


def _swatch(label: str, color: int) -> str:
    style = f"--color:{COLORS[color]}"
    return f'<span class="swatch" style="{style}">{escape(label)}</span>'
