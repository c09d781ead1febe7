"""Random views of samples, and the losses that make a tree agree about them.

The contrastive extension (section 2.6 of the paper): two views of each sample go
through the bottom-up side; `nt_xent` contrasts their embeddings of every depth, and
`router_contrast` their decisions at every router.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..model.layers import StackedMLP

__all__ = [
    "ImageViews",
    "NeighborViews",
    "Projections",
    "View",
    "nt_xent",
    "router_contrast",
]

View = Callable[[Tensor, torch.Generator], Tensor]
"""Maps rows (batch, n_features) to random variants of them, of the same shape."""

ROTATION = math.radians(10)
"""Largest angle by which grey images turn, as in the paper."""

SHIFT = 1 / 28
"""Largest shift of grey images, relative to the side, as in the paper.

Twice as much cost 6 points of nearest-neighbour accuracy on features of MNIST.
"""

ZOOM = 0.1
"""Grey images shrink or grow by up to this fraction, as in the paper."""

CROP_AREA = 0.2
"""Least area of a crop of a colour image, as in the paper."""

CROP_ASPECT = 4 / 3
"""Largest stretch of a crop of a colour image, in either direction."""

JITTER = 0.4
"""Largest relative change of brightness, contrast and saturation, as in the paper."""

HUE = 0.1
"""Largest turn of the hue, of a whole one, as in the paper."""

GREY_PROBABILITY = 0.2
"""How often a colour image loses its colours, as in the paper."""

BLUR_PROBABILITY = 0.5
"""How often a large colour image is blurred."""

BLUR_SIDE = 48
"""Least pixels a side of images that are blurred, and pixels per pixel of blur."""

RGB_TO_YIQ = (
    (0.299, 0.587, 0.114),
    (0.596, -0.274, -0.322),
    (0.211, -0.523, 0.312),
)
"""Luminance and the plane of colours."""

N_POWERS = 9
"""Terms of the exponential series, exact in float32 for arguments up to a half."""


@dataclass(frozen=True)
class ImageViews:
    """Random variants of images that show the same thing.

    Grey images turn (by up to 10 degrees), move (by up to a 28th of a side) and shrink
    or grow (by up to a tenth); their border pixels continue outwards. They are never
    flipped: what is written, as digits and letters, isn't the same when mirrored (b and
    d, 2 and 5), and other grey images are often of things always seen from one side.

    Colour images are cropped to between a fifth and all of their area and stretched to
    the full size, mirrored half of the time, changed in brightness, contrast,
    saturation (up to 0.4) and hue (up to 0.1), and made grey with probability 0.2.
    Half of those with at least 48 pixels a side are blurred as well, by up to a 48th of
    the shorter side; small ones have no fine detail to lose.

    Parameters
    ----------
    image_shape : tuple of int
        Height and width, or height, width and channels, of which there are 1 or 3.
    low, high : float
        Black and white in the units of the rows; no pixel of a view is outside.

    Raises
    ------
    ValueError
        For another number of channels.

    Examples
    --------
    >>> views = ImageViews((28, 28), low=0.0, high=1.0)
    >>> views(torch.rand(5, 784), torch.Generator()).shape
    torch.Size([5, 784])
    """

    # Not by kornia: its augmentations draw from torch's global random state.

    image_shape: tuple[int, ...]
    low: float
    high: float

    def __post_init__(self) -> None:
        if tuple(self.image_shape[2:]) not in {(), (1,), (3,)}:
            raise ValueError(
                "image_shape must be (height, width) or (height, width, channels), "
                f"with 1 or 3 channels, for views of images; got {self.image_shape!r}"
            )

    @torch.no_grad()
    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Return a view of each row of x, (batch, n_features)."""
        height, width, *channels = self.image_shape
        images = x.reshape(len(x), height, width, *(channels or [1]))
        images = images.permute(0, 3, 1, 2) - self.low
        images = (_vary_colour if 3 in channels else _vary_grey)(images, generator)
        images = (images + self.low).clamp(self.low, self.high)
        return images.permute(0, 2, 3, 1).reshape(x.shape)


def _vary_grey(images: Tensor, generator: torch.Generator) -> Tensor:
    angle, zoom, right, down = 2 * _uniform(4, images, generator) - 1
    height, width = images.shape[2:]
    theta = _affine(
        (height, width),
        angle=ROTATION * angle,
        scale=1 + ZOOM * zoom,
        right=SHIFT * width * right,
        down=SHIFT * height * down,
    )
    return _warp(images, theta)


def _vary_colour(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crop, mirror, recolour and, if they are large, blur images; black is 0."""
    area, aspect, right, down, mirror, *u = _uniform(12, images, generator)
    area = CROP_AREA + (1 - CROP_AREA) * area
    stretch = (math.log(CROP_ASPECT) * (aspect - 0.5)).exp()  # a square root of it
    crop = _crop(
        width=(area.sqrt() * stretch).clamp(max=1),
        height=(area.sqrt() / stretch).clamp(max=1),
        right=right,
        down=down,
        mirror=mirror < 0.5,
    )
    brightness, contrast, saturation, hue, grey, blur, sigma = u
    images = _recolour(
        _warp(images, crop),
        brightness=1 + JITTER * (2 * brightness - 1),
        contrast=1 + JITTER * (2 * contrast - 1),
        saturation=(1 + JITTER * (2 * saturation - 1)) * (grey >= GREY_PROBABILITY),
        hue=2 * math.pi * HUE * (2 * hue - 1),
    )
    side = min(images.shape[2:])
    if side >= BLUR_SIDE:
        images = _blur(images, side / BLUR_SIDE * sigma * (blur < BLUR_PROBABILITY))
    return images


def _uniform(n: int, images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw n numbers between 0 and 1 for each image, (n, batch)."""
    shape = (n, len(images))
    return torch.rand(
        shape, generator=generator, device=images.device, dtype=images.dtype
    )


def _warp(images: Tensor, theta: Tensor) -> Tensor:
    """Sample images at the places to which theta, (batch, 2, 3), maps their pixels."""
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _affine(
    size: tuple[int, int],
    *,
    angle: Tensor,
    scale: Tensor,
    right: Tensor,
    down: Tensor,
) -> Tensor:
    """Return the map from places of a view back to those of the image, for `_warp`.

    The image is turned clockwise about its middle, scaled, and moved by pixels.
    """
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rows = (
        (cos, sin, -cos * right - sin * down),
        (-sin, cos, sin * right - cos * down),
    )
    theta = torch.stack([torch.stack(row, 1) for row in rows], 1)
    # Places are counted in halves of a side from the centre.
    half = theta.new_tensor([size[1] / 2, size[0] / 2, 1])
    return theta * half / half[:2, None]


def _crop(
    *, width: Tensor, height: Tensor, right: Tensor, down: Tensor, mirror: Tensor
) -> Tensor:
    """Return the map from places of a view to those of a part of an image, for `_warp`.

    Width and height are relative to the image's; the part is at its left for ``right``
    0 and at its right for 1.
    """
    zero = torch.zeros_like(width)
    across = torch.stack(
        [torch.where(mirror, -width, width), zero, (1 - width) * (2 * right - 1)], 1
    )
    along = torch.stack([zero, height, (1 - height) * (2 * down - 1)], 1)
    return torch.stack([across, along], 1)


def _recolour(
    images: Tensor,
    *,
    brightness: Tensor,
    contrast: Tensor,
    saturation: Tensor,
    hue: Tensor,
) -> Tensor:
    """Change the colours of images, (batch, 3, height, width), whose black is 0.

    All changes are linear, and their order doesn't matter: brightness scales an image,
    contrast its difference to its mean luminance, saturation its colours, and hue turns
    them in their plane. No saturation is grey.
    """
    to_yiq = images.new_tensor(RGB_TO_YIQ)
    change = images.new_zeros(len(images), 3, 3)
    change[:, 0, 0] = 1
    change[:, 1, 1] = change[:, 2, 2] = saturation * hue.cos()
    change[:, 2, 1] = saturation * hue.sin()
    change[:, 1, 2] = -change[:, 2, 1]
    change = torch.linalg.inv(to_yiq) @ change @ to_yiq
    change = change * (brightness * contrast)[:, None, None]
    luminance = images.mean((2, 3)) @ to_yiq[0]
    grey = luminance * brightness * (1 - contrast)
    return torch.baddbmm(grey[:, None, None], change, images.flatten(2)).view_as(images)


def _blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Blur each image by a Gaussian of its own width in pixels; 0 leaves it alone."""
    # As two products by matrices, since a convolution has one kernel for all images.
    precision = 0.5 / sigma.clamp(min=0.1).square()[:, None, None]
    height, width = images.shape[2:]
    rows, columns = (
        torch.arange(n, device=images.device, dtype=images.dtype)
        for n in (height, width)
    )
    down = (-precision * (rows - rows[:, None]).square()).softmax(2)
    across = (-precision * (columns - columns[:, None]).square()).softmax(2)
    return down[:, None] @ images @ across[:, None].mT


@dataclass(frozen=True, eq=False)
class NeighborViews:
    """For data without augmentations: a sample's view is one of its nearest neighbours.

    Parameters
    ----------
    index : Tensor of int of shape (n_samples, n_neighbors)
        The neighbours of each sample.

    Examples
    --------
    >>> views = NeighborViews(torch.tensor([[1], [2], [0]]))
    >>> views.draw(torch.tensor([0, 2]), torch.Generator())
    tensor([1, 0])
    """

    index: Tensor

    def draw(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Return the position of a random neighbour of each of the rows, (batch,)."""
        n_neighbors = self.index.shape[1]
        column = torch.randint(
            n_neighbors, rows.shape, generator=generator, device=rows.device
        )
        return self.index[rows, column]


class Projections(nn.Module):
    """One small perceptron for each depth's embedding, to contrast what it gives.

    An embedding can so keep what differs between views. Used in training only.

    Parameters
    ----------
    n_embeddings : int
        Number of embeddings.
    hidden_dim : int
        Width of every embedding, and of the hidden layer.
    width : int
        Width of the projections.
    generator : torch.Generator
        Source of the initial weights.

    Examples
    --------
    >>> project = Projections(3, 128, 64, generator=torch.Generator())
    >>> [d.shape for d in project([torch.zeros(10, 128)] * 3)]
    [torch.Size([10, 64]), torch.Size([10, 64]), torch.Size([10, 64])]
    """

    def __init__(
        self,
        n_embeddings: int,
        hidden_dim: int,
        width: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        widths = (hidden_dim, hidden_dim, width)
        self.nets = StackedMLP(n_embeddings, widths, generator=generator)

    def forward(self, embeddings: Sequence[Tensor]) -> list[Tensor]:
        """Return the projections, each (batch, width), of embeddings d_0, ..., d_D."""
        return list(self.nets(torch.stack(list(embeddings))).unbind())


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Return how badly rows are told by the direction of their other view, in nats.

    The normalised, temperature-scaled cross-entropy of Chen et al. (2020): the mean
    over all 2n rows of the negative log-probability of a row's other view under a
    softmax of the cosines with all other rows, divided by the temperature. 0 for n = 1.

    Parameters
    ----------
    a, b : Tensor of shape (n, width)
        Two views of the same samples.
    temperature : float
        Unit of the cosines: the smaller, the more the nearest negatives matter.

    Examples
    --------
    >>> a = torch.eye(4)
    >>> bool(nt_xent(a, a, 0.5) < nt_xent(a, a.roll(1, 0), 0.5))
    True
    """
    views = F.normalize(torch.cat([a, b]), dim=1)
    logits = views @ views.T / temperature
    logits = logits.masked_fill(
        torch.eye(len(logits), dtype=torch.bool, device=logits.device), -math.inf
    )
    other = torch.arange(len(logits), device=logits.device).roll(len(a))
    return F.cross_entropy(logits, other)


def router_contrast(
    logit_a: Tensor, logit_b: Tensor, weight_a: Tensor, weight_b: Tensor
) -> Tensor:
    r"""Return how badly samples are told by their other view's decisions, in nats.

    The InfoNCE of every router (section 2.6 of the paper) with temperature 1. The
    similarity of two rows at a router is the inner product of their (p, 1 - p): the
    probability that they go the same way. With the similarities s, and w the
    probabilities that rows reach the router, row i, whose other view is j, loses

    .. math:: \log(e^{s_{ij}} + \sum_{k \neq i, j} w_k e^{s_{ik}}) - s_{ij}.

    So a router is asked for decisions that are the same for both views and that are
    otherwise spread over both sides, among the samples that reach it; others are
    no evidence. The result is the mean over all rows of all routers, weighted by the
    probability that both views reach the router: the root's loss doesn't grow with
    the tree, and a router with few samples has little say. It is 0 where no sample
    reaches any router, or for n = 1.

    Parameters
    ----------
    logit_a, logit_b : Tensor of shape (n_routers, n)
        Log-odds of the decisions for two views of the same samples.
    weight_a, weight_b : Tensor of shape (n_routers, n)
        Probability of each view to reach each router, P(i|x). No gradient passes.

    Examples
    --------
    >>> logit, reach = torch.tensor([[5.0, -5.0]]), torch.ones(1, 2)
    >>> bool(router_contrast(logit, logit, reach, reach) <
    ...      router_contrast(logit, -logit, reach, reach))
    True
    """
    # With t = 2 p - 1, s = (1 + t t') / 2. As |t t' / 2| <= 1 / 2, a few terms of the
    # exponential series give the sum over all rows by the powers' sums over rows:
    # linear in n, where the matrix of similarities of every router would be quadratic.
    # The factor exp(1 / 2) is common to all terms, and left out.
    t = (torch.cat([logit_a, logit_b], 1) / 2).tanh()
    weight = torch.cat([weight_a, weight_b], 1).detach()
    n = logit_a.shape[1]
    order = torch.arange(N_POWERS, device=t.device)
    powers = t[..., None] ** order
    sums = (weight[..., None] * powers).sum(1, keepdim=True)
    factors = torch.exp(-torch.lgamma(order + 1.0)) / 2**order
    everyone = (powers * sums * factors).sum(2)
    agreement = t * t.roll(n, 1) / 2
    other_weight = weight.roll(n, 1)
    negatives = (
        everyone - weight * (t.square() / 2).exp() - other_weight * agreement.exp()
    )
    loss = torch.log1p(negatives.clamp(min=0) * (-agreement).exp())
    both = weight * other_weight
    tiny = torch.finfo(both.dtype).tiny
    return (both * loss).sum() / both.sum().clamp(min=tiny)
