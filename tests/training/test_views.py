import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.training import views
from sktreevae.training.views import (
    ImageViews,
    NeighborViews,
    Projections,
    nt_xent,
    router_contrast,
)

SHAPES = [
    (28, 28),
    (28, 20),
    (17, 17),
    (8, 8, 1),
    (32, 32, 3),
    (20, 33, 3),
    (64, 64, 3),
]
seeds = st.integers(0, 999)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(shape, n=6, low=0.0, high=1.0):
    x = torch.rand(n, math.prod(shape), generator=generator(1))
    return low + (high - low) * x


def numbers(*values):
    return torch.tensor([float(value) for value in values])


# Views of images


@pytest.mark.parametrize("shape", SHAPES)
def test_shape_and_range_are_kept(shape):
    x = rows(shape, low=-3.0, high=2.0)
    result = ImageViews(shape, -3.0, 2.0)(x, generator())
    assert result.shape == x.shape
    assert result.dtype == x.dtype
    assert result.min() >= -3
    assert result.max() <= 2


@pytest.mark.parametrize("shape", SHAPES)
def test_views_differ_from_the_image_and_from_each_other(shape):
    x = rows(shape)
    source = generator()
    make = ImageViews(shape, 0.0, 1.0)
    a, b = make(x, source), make(x, source)
    for first, second in ((a, x), (a, b)):
        assert ((first - second).abs().amax(1) > 0.01).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_generator_alone_decides(shape):
    x, make = rows(shape), ImageViews(shape, 0.0, 1.0)
    before = x.clone(), torch.get_rng_state()
    first = make(x, generator(3))
    assert torch.equal(first, make(x, generator(3)))
    assert not torch.equal(first, make(x, generator(4)))
    assert torch.equal(x, before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("value", [-1.0, 0.25, 1.0])
@pytest.mark.parametrize("shape", [(28, 20), (17, 17, 1)])
def test_constant_grey_images_stay_as_they_are(shape, value):
    x = torch.full((5, math.prod(shape)), value)
    result = ImageViews(shape, -1.0, 1.0)(x, generator())
    torch.testing.assert_close(result, x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(32, 32, 3), (64, 64, 3)])
def test_constant_colour_images_stay_constant(shape):
    colour = torch.rand(5, 1, 3, generator=generator())
    x = colour.expand(5, math.prod(shape[:2]), 3).flatten(1)
    result = ImageViews(shape, 0.0, 1.0)(x, generator()).view(5, -1, 3)
    assert (result.amax(1) - result.amin(1)).max() < 1e-5


def test_units_do_not_matter():
    x = rows((32, 32, 3))
    expected = ImageViews((32, 32, 3), 0.0, 1.0)(x, generator())
    result = ImageViews((32, 32, 3), -2.0, 8.0)(10 * x - 2, generator())
    torch.testing.assert_close(result, 10 * expected - 2, atol=1e-4, rtol=0)


def test_no_gradient_is_recorded():
    x = rows((16, 16)).requires_grad_()
    assert not ImageViews((16, 16), 0.0, 1.0)(x, generator()).requires_grad


@pytest.mark.parametrize("shape", [(8, 8, 2), (3, 8, 8), (8, 8, 4)])
def test_other_channels_are_refused(shape):
    with pytest.raises(ValueError, match=r"1 or 3 channels.*got \(\d, 8, \d\)"):
        ImageViews(shape, 0.0, 1.0)


def test_grey_images_are_never_mirrored():
    letter = torch.zeros(28, 28)
    letter[4:24, 6:12] = 1
    letter[18:24, 6:22] = 1  # an L
    x = letter.flatten().expand(500, -1)
    result = ImageViews((28, 28), 0.0, 1.0)(x, generator())
    for mirrored in (letter.flip(1), letter.flip(0), letter.flip(0, 1)):
        assert (result @ letter.flatten() > result @ mirrored.flatten()).all()


def test_grey_blobs_move_within_the_bounds():
    image = torch.zeros(84, 56)
    image[41:43, 27:29] = 1  # in the middle, where only shifts move it
    x = image.flatten().expand(400, -1)
    result = ImageViews((84, 56), 0.0, 1.0)(x, generator()).view(-1, 84, 56)
    down, right = (centroids(result) - centroids(image[None])).T.abs()
    assert 2.8 < down.max() < 3.1  # a 28th of 84
    assert 1.8 < right.max() < 2.1


def test_colour_images_are_mirrored_half_of_the_time():
    image = torch.linspace(0.2, 0.8, 32)[None, :, None].expand(32, 32, 3)
    x = image.flatten().expand(1000, -1)
    result = ImageViews((32, 32, 3), 0.0, 1.0)(x, generator()).view(-1, 32, 32, 3)
    falls = result[:, 16, 0, 1] > result[:, 16, -1, 1]
    assert 0.45 < falls.float().mean() < 0.55


def test_some_colour_images_become_grey():
    x = torch.tensor([0.6, 0.5, 0.4]).repeat(1024).expand(1000, -1)
    result = ImageViews((32, 32, 3), 0.0, 1.0)(x, generator()).view(-1, 1024, 3)
    grey = (result.amax(2) - result.amin(2)).amax(1) < 1e-5
    assert 0.15 < grey.float().mean() < 0.25


def test_crops_have_the_areas_of_the_recipe(monkeypatch):
    crops = []
    original = views._crop
    monkeypatch.setattr(
        views, "_crop", lambda **kwargs: crops.append(kwargs) or original(**kwargs)
    )
    ImageViews((8, 8, 3), 0.0, 1.0)(torch.zeros(2000, 192), generator())
    width, height = crops[0]["width"], crops[0]["height"]
    assert 0.2 - 1e-5 < (width * height).min() < 0.21
    assert (width * height).max() > 0.95
    assert 0.74 < (width / height).min() < 0.76
    assert 1.32 < (width / height).max() < 1.34


@pytest.mark.parametrize(("side", "is_blurred"), [(47, False), (48, True)])
def test_only_large_images_are_blurred(side, is_blurred, monkeypatch):
    calls = []
    monkeypatch.setattr(views, "_blur", lambda x, s: calls.append(s) or x)
    x = rows((side, 64, 3), n=200)
    ImageViews((side, 64, 3), 0.0, 1.0)(x, generator())
    assert bool(calls) == is_blurred
    for sigma in calls:
        assert 0.4 < (sigma == 0).float().mean() < 0.6
        assert 0.8 < sigma.max() < 1


def centroids(images):
    """Return the centres of mass, (n, 2), of images (n, height, width)."""
    mass = images.sum((1, 2))
    down = (images.sum(2) @ torch.arange(images.shape[1]).float()) / mass
    right = (images.sum(1) @ torch.arange(images.shape[2]).float()) / mass
    return torch.stack([down, right], 1)


def warp(image, **parameters):
    """Apply one affine map to an image (height, width)."""
    values = {"angle": 0.0, "scale": 1.0, "right": 0.0, "down": 0.0} | parameters
    values = {name: numbers(value) for name, value in values.items()}
    theta = views._affine(tuple(image.shape), **values)
    return views._warp(image[None, None], theta)[0, 0]


@pytest.mark.parametrize("size", [(28, 28), (28, 20), (17, 17)])
def test_the_neutral_affine_map_changes_nothing(size):
    image = rows(size, n=1).view(size)
    torch.testing.assert_close(warp(image), image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(28, 28), (28, 20)])
def test_whole_shifts_are_exact_and_continue_the_border(size):
    image = rows(size, n=1).view(size)
    result = warp(image, right=3, down=-2)
    torch.testing.assert_close(result[:-2, 3:], image[2:, :-3], atol=1e-4, rtol=0)
    expected = image[2:, :1].expand(-1, 3)
    torch.testing.assert_close(result[:-2, :3], expected, atol=1e-4, rtol=0)


def test_a_quarter_turn_is_clockwise():
    image = rows((12, 12), n=1).view(12, 12)
    result = warp(image, angle=math.pi / 2)
    torch.testing.assert_close(result, image.rot90(-1), atol=1e-4, rtol=0)


@given(
    angle=st.floats(-0.5, 0.5),
    scale=st.floats(0.8, 1.2),
    right=st.floats(-2, 2),
    down=st.floats(-2, 2),
)
def test_a_blob_goes_where_the_affine_map_says(angle, scale, right, down):
    grid = torch.stack(torch.meshgrid(*map(torch.arange, (40, 30)), indexing="ij"), 2)
    blob = (-(grid - torch.tensor([14.0, 19.0])).square().sum(2) / 8).exp()
    result = warp(blob, angle=angle, scale=scale, right=right, down=down)
    y, x = 14.0 - 19.5, 19.0 - 14.5  # from the middle
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    expected = numbers(
        sin * x + cos * y + down + 19.5, cos * x - sin * y + right + 14.5
    )
    torch.testing.assert_close(centroids(result[None])[0], expected, atol=0.05, rtol=0)


def crop(images, width=1.0, height=1.0, right=0.0, down=0.0, mirror=False):
    theta = views._crop(
        width=numbers(width),
        height=numbers(height),
        right=numbers(right),
        down=numbers(down),
        mirror=torch.tensor([mirror]),
    )
    return views._warp(images, theta)


def test_the_whole_crop_changes_nothing():
    images = rows((3, 9, 14), n=1).view(1, 3, 9, 14)
    torch.testing.assert_close(crop(images), images, atol=1e-5, rtol=0)


def test_a_mirrored_crop_is_a_flip():
    images = rows((3, 9, 14), n=1).view(1, 3, 9, 14)
    result = crop(images, mirror=True)
    torch.testing.assert_close(result, images.flip(3), atol=1e-5, rtol=0)


def test_a_crop_is_the_part_it_names():
    quarters = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    images = quarters.repeat_interleave(8, 0).repeat_interleave(8, 1)[None, None]
    for down in (0, 1):
        for right in (0, 1):
            # A little less than a quarter, for no pixel of another to be mixed in.
            result = crop(images, width=0.4, height=0.4, right=right, down=down)
            torch.testing.assert_close(
                result, torch.full_like(result, quarters[down, right].item())
            )


def recolour(images, **parameters):
    values = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    values |= parameters
    values = {name: numbers(value) for name, value in values.items()}
    return views._recolour(images, **values)


def luminance(images):
    return images.movedim(1, -1) @ images.new_tensor(views.RGB_TO_YIQ[0])


@pytest.fixture
def image():
    return rows((3, 8, 8), n=1).view(1, 3, 8, 8)


@pytest.mark.parametrize("hue", [0, 2 * math.pi])
def test_neutral_colours_change_nothing(image, hue):
    torch.testing.assert_close(recolour(image, hue=hue), image, atol=1e-5, rtol=0)


def test_brightness_scales(image):
    torch.testing.assert_close(recolour(image, brightness=0.7), 0.7 * image)


def test_contrast_scales_around_the_mean_luminance(image):
    mean = luminance(image).mean()
    expected = mean + 1.3 * (image - mean)
    torch.testing.assert_close(recolour(image, contrast=1.3), expected)


def test_saturation_scales_around_the_luminance(image):
    grey = luminance(image)[:, None]
    expected = grey + 0.6 * (image - grey)
    result = recolour(image, saturation=0.6)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_no_saturation_is_grey(image):
    result = recolour(image, saturation=0, hue=1)
    expected = luminance(image)[:, None].expand_as(image)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_hue_turns_colours_and_leaves_luminance_and_grey(image):
    result = recolour(image, hue=2 * math.pi / 3)
    torch.testing.assert_close(luminance(result), luminance(image))
    red = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None].expand(1, 3, 2, 2)
    for turn, channel in ((-1 / 3, 1), (1 / 3, 2)):
        result = recolour(red, hue=2 * math.pi * turn)
        assert (result.argmax(1) == channel).all()
    grey = torch.full((1, 3, 2, 2), 0.4)
    torch.testing.assert_close(recolour(grey, hue=1), grey)


def test_blur_is_a_gaussian_of_its_width():
    image = torch.zeros(2, 1, 31, 31)
    image[:, :, 15, 15] = 1
    result = views._blur(image, numbers(0, 2))
    torch.testing.assert_close(result[0], image[0])
    kernel = (-(torch.arange(31.0) - 15).square() / 8).exp()
    kernel = kernel / kernel.sum()
    torch.testing.assert_close(result[1, 0], kernel[:, None] * kernel)


def test_views_of_real_digits_are_nearest_to_their_own_image(data_dir):
    digits = np.load(data_dir / "mnist.npz")["X_test"][:200].reshape(200, -1) / 255
    x = torch.from_numpy(digits).float()
    result = ImageViews((28, 28), 0.0, 1.0)(x, generator())
    own = torch.cdist(result, x).argmin(1) == torch.arange(200)
    assert own.float().mean() > 0.5


def test_views_of_real_photos_keep_their_mean_luminance(data_dir):
    image = pytest.importorskip("PIL.Image")
    archive = np.load(data_dir / "cifar10_jpeg_15k.npz")
    ends = archive["offsets_test"][:201]
    files = archive["jpeg_test"][: ends[-1]].tobytes()
    photos = np.stack(
        [
            np.asarray(image.open(io.BytesIO(files[ends[i] : ends[i + 1]])))
            for i in range(200)
        ]
    )
    x = torch.from_numpy(photos.reshape(200, -1) / 255).float()
    result = ImageViews((32, 32, 3), 0.0, 1.0)(x, generator())
    assert abs(result.mean() - x.mean()) < 0.03
    assert torch.corrcoef(torch.stack([result.mean(1), x.mean(1)]))[0, 1] > 0.5


# Neighbours as views


@given(st.integers(1, 5), seeds)
def test_a_neighbour_is_one_of_the_row(k, seed):
    index = torch.randint(50, (50, k), generator=generator(seed))
    sample = torch.randint(50, (30,), generator=generator(seed + 1))
    drawn = NeighborViews(index).draw(sample, generator(seed))
    assert drawn.shape == (30,)
    assert (index[sample] == drawn[:, None]).any(1).all()
    assert torch.equal(drawn, NeighborViews(index).draw(sample, generator(seed)))


def test_all_neighbours_are_as_likely():
    index = torch.arange(4).expand(10, 4)
    sample = torch.zeros(4000, dtype=torch.long)
    before = torch.get_rng_state()
    count = NeighborViews(index).draw(sample, generator()).bincount(minlength=4)
    assert (count - 1000).abs().max() < 100
    assert torch.equal(torch.get_rng_state(), before)


# Projections


def test_each_embedding_has_its_own_projection():
    project = Projections(3, 8, 5, generator())
    d = torch.randn(4, 8, generator=generator())
    first, second, third = project([d, d, d])
    assert first.shape == (4, 5)
    assert not torch.allclose(first, second)
    assert not torch.allclose(second, third)
    alone = project([torch.zeros_like(d), d, torch.zeros_like(d)])[1]
    torch.testing.assert_close(alone, second)


def test_projections_come_from_the_generator():
    before = torch.get_rng_state()
    first, second = (Projections(2, 8, 5, generator(7)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(p, q)


def test_every_parameter_of_a_projection_has_a_gradient():
    project = Projections(2, 8, 5, generator())
    a, b = torch.randn(2, 2, 6, 8, generator=generator())
    pairs = zip(project(a.unbind()), project(b.unbind()), strict=True)
    sum(nt_xent(p, q, 0.5) for p, q in pairs).backward()
    for name, p in project.named_parameters():
        assert p.grad.any(), name


# Contrast of embeddings


def two_views(n, width, seed):
    return torch.randn(2, n, width, generator=generator(seed), dtype=torch.float64)


def slow_nt_xent(a, b, temperature):
    z = torch.cat([a, b])
    n = len(a)
    total = 0.0
    for i in range(2 * n):
        similarity = [
            float(z[i] @ z[k] / (z[i].norm() * z[k].norm())) / temperature
            for k in range(2 * n)
        ]
        positive = similarity[(i + n) % (2 * n)]
        others = sum(math.exp(similarity[k]) for k in range(2 * n) if k != i)
        total += math.log(others) - positive
    return total / (2 * n)


@given(st.integers(1, 6), st.integers(1, 4), st.floats(0.1, 2), seeds)
def test_nt_xent_is_its_definition(n, width, temperature, seed):
    a, b = two_views(n, width, seed)
    expected = slow_nt_xent(a, b, temperature)
    assert float(nt_xent(a, b, temperature)) == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 6), seeds)
def test_nt_xent_knows_no_order_and_no_lengths(n, seed):
    a, b = two_views(n, 4, seed)
    expected = nt_xent(a, b, 0.5)
    order = torch.randperm(n, generator=generator(seed))
    length = 0.1 + torch.rand(n, 1, generator=generator(seed), dtype=torch.float64)
    torch.testing.assert_close(nt_xent(a[order], b[order], 0.5), expected)
    torch.testing.assert_close(nt_xent(b, a, 0.5), expected)
    torch.testing.assert_close(nt_xent(length * a, b / length, 0.5), expected)


@given(seeds)
def test_nt_xent_is_least_where_views_agree(seed):
    a, b = two_views(20, 8, seed)
    assert nt_xent(a, a, 0.5) < nt_xent(a, b, 0.5)


def test_gradients_of_nt_xent_reach_both_views():
    a, b = two_views(5, 3, 0).requires_grad_().unbind()
    assert torch.autograd.gradcheck(lambda a, b: nt_xent(a, b, 0.5), (a, b))


def test_one_sample_has_no_negatives():
    a, b = (x.requires_grad_() for x in torch.randn(2, 1, 3, generator=generator()))
    loss = nt_xent(a, b, 0.5)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(a.grad).all()


# Contrast of decisions


def decisions(n_routers, n, seed, scale=2.0):
    """Return log-odds and probabilities of reaching, for two views of n samples."""
    source = generator(seed)
    logits = scale * torch.randn(2, n_routers, n, generator=source, dtype=torch.float64)
    weights = torch.rand(2, n_routers, n, generator=source, dtype=torch.float64)
    return *logits, *weights


def slow_router_contrast(logit_a, logit_b, weight_a, weight_b):
    n_routers, n = logit_a.shape
    total = total_weight = 0.0
    for router in range(n_routers):
        p = torch.cat([logit_a[router], logit_b[router]]).sigmoid().tolist()
        w = torch.cat([weight_a[router], weight_b[router]]).tolist()
        for i in range(2 * n):
            j = (i + n) % (2 * n)
            same = [p[i] * q + (1 - p[i]) * (1 - q) for q in p]
            others = sum(
                w[k] * math.exp(same[k]) for k in range(2 * n) if k not in (i, j)
            )
            total += w[i] * w[j] * (math.log(math.exp(same[j]) + others) - same[j])
            total_weight += w[i] * w[j]
    return total / total_weight


@given(st.integers(1, 4), st.integers(1, 6), st.floats(0, 20), seeds)
def test_router_contrast_is_its_definition(n_routers, n, scale, seed):
    arguments = decisions(n_routers, n, seed, scale)
    expected = slow_router_contrast(*arguments)
    assert float(router_contrast(*arguments)) == pytest.approx(expected, abs=1e-6)
    single = router_contrast(*(x.float() for x in arguments))
    assert float(single) == pytest.approx(expected, abs=1e-5)


@given(st.integers(1, 6), seeds)
def test_router_contrast_knows_no_order(n, seed):
    a, b, u, v = decisions(3, n, seed)
    expected = router_contrast(a, b, u, v)
    order = torch.randperm(n, generator=generator(seed))
    shuffled = (x[:, order] for x in (a, b, u, v))
    torch.testing.assert_close(router_contrast(*shuffled), expected)
    torch.testing.assert_close(router_contrast(b, a, v, u), expected)
    torch.testing.assert_close(router_contrast(-a, -b, u, v), expected)
    torch.testing.assert_close(
        router_contrast(*(x.flip(0) for x in (a, b, u, v))), expected
    )


def test_samples_that_miss_a_router_do_not_matter_there():
    a, b, u, v = decisions(2, 6, 0)
    u[:, 4:] = v[:, 4:] = 0
    expected = router_contrast(*(x[:, :4] for x in (a, b, u, v)))
    torch.testing.assert_close(router_contrast(a, b, u, v), expected)


def test_consistent_and_balanced_decisions_are_best():
    reach = torch.ones(1, 40)
    even = torch.tensor([20.0, -20.0]).repeat(20)[None]
    best = router_contrast(even, even, reach, reach)
    undecided = torch.zeros(1, 40)
    one_way = torch.full((1, 40), 20.0)
    few = torch.where(torch.arange(40) < 4, 20.0, -20.0)[None]
    split = router_contrast(few, few, reach, reach)
    for worse in (undecided, one_way):
        loss = router_contrast(worse, worse, reach, reach)
        assert loss.item() == pytest.approx(math.log(79), abs=1e-4)
        assert best < split < loss
    assert router_contrast(even, -even, reach, reach) > loss


def test_gradients_of_router_contrast():
    a, b, u, v = decisions(3, 5, 0)
    a.requires_grad_()
    b.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: router_contrast(a, b, u, v), (a, b), atol=1e-5
    )


def test_no_gradient_passes_by_the_weights():
    arguments = [x.requires_grad_() for x in decisions(3, 5, 0)]
    router_contrast(*arguments).backward()
    a, b, u, v = (x.grad for x in arguments)
    assert a.any()
    assert b.any()
    assert u is None
    assert v is None


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("reach", [0.0, 1e-30, 1.0])
def test_router_contrast_of_next_to_nothing_is_finite(n, reach):
    a, b, *_ = (x.float().requires_grad_() for x in decisions(2, n, 0, scale=100.0))
    weight = torch.full((2, n), reach)
    loss = router_contrast(a, b, weight, weight)
    loss.backward()
    if n == 1 or reach == 0:
        assert loss.item() == pytest.approx(0, abs=1e-5)
    for x in (loss, a.grad, b.grad):
        assert torch.isfinite(x).all()
