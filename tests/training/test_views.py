import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.model import FeatureMap
from sktreevae.training import Samples, views
from sktreevae.training.views import (
    ImageViews,
    NeighborViews,
    SampleViews,
    check_view,
)

SHAPES = [
    (28, 28),
    (28, 20),
    (17, 17),
    (8, 8, 1),
    (32, 32, 3),
    (20, 33, 3),
    (64, 64, 3),
    (1, 17, 12),
    (3, 32, 20),
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


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_come_first_or_last(channels):
    last = rows((20, 33, channels)).view(-1, 20, 33, channels)
    first = last.permute(0, 3, 1, 2).flatten(1)
    expected = ImageViews((20, 33, channels), 0.0, 1.0)(last.flatten(1), generator())
    result = ImageViews((channels, 20, 33), 0.0, 1.0)(first, generator())
    result = result.view(-1, channels, 20, 33).permute(0, 2, 3, 1).flatten(1)
    assert torch.equal(result, expected)


def test_units_do_not_matter():
    x = rows((32, 32, 3))
    expected = ImageViews((32, 32, 3), 0.0, 1.0)(x, generator())
    result = ImageViews((32, 32, 3), -2.0, 8.0)(10 * x - 2, generator())
    torch.testing.assert_close(result, 10 * expected - 2, atol=1e-4, rtol=0)


def test_no_gradient_is_recorded():
    x = rows((16, 16)).requires_grad_()
    assert not ImageViews((16, 16), 0.0, 1.0)(x, generator()).requires_grad


@pytest.mark.parametrize("shape", [(8, 8, 2), (2, 8, 8), (8, 8, 4)])
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
    make = NeighborViews(torch.arange(50.0)[:, None], index)
    drawn = make(sample, generator(seed))
    assert drawn.shape == (30, 1)
    assert (index[sample] == drawn).any(1).all()
    assert torch.equal(drawn, make(sample, generator(seed)))


def test_all_neighbours_are_as_likely():
    index = torch.arange(4).expand(10, 4)
    sample = torch.zeros(4000, dtype=torch.long)
    before = torch.get_rng_state()
    make = NeighborViews(torch.eye(10), index)
    count = make(sample, generator()).sum(0)
    assert (count[:4] - 1000).abs().max() < 100
    assert torch.equal(torch.get_rng_state(), before)


# Variants of samples


def standardised(n=6):
    """Return data in a user's units, and the samples made of it."""
    X = np.random.default_rng(0).normal([500.0, -2.0, 0.01], [20.0, 1.0, 0.001], (n, 3))
    return X, Samples(X, X.mean(axis=0), X.std(axis=0) if n > 1 else np.ones(3))


def test_a_callable_sees_and_returns_values_in_the_users_units():
    X, samples = standardised()
    seen = []

    def double(rows, source):
        seen.append(rows)
        return 2 * rows

    index = torch.tensor([4, 0, 2])
    result = SampleViews(samples, FeatureMap(3), double)(index, generator())
    np.testing.assert_allclose(seen[0], X[[4, 0, 2]], rtol=1e-5)
    expected = (2 * X[[4, 0, 2]] - X.mean(axis=0)) / X.std(axis=0)
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-3)


def test_views_are_features_of_the_variants():
    X, samples = standardised()
    feature_map = FeatureMap(3, 2)
    with torch.no_grad():
        feature_map.projection.copy_(torch.randn(3, 2, generator=generator()))
    make = SampleViews(samples, feature_map, lambda rows, _: rows)
    index = torch.tensor([1, 1, 5])
    torch.testing.assert_close(
        make(index, generator()), feature_map(samples[index]), rtol=1e-3, atol=1e-3
    )


def test_a_callable_gets_the_generator():
    _, samples = standardised()
    make = SampleViews(samples, FeatureMap(3), shaken)
    index, before = torch.arange(6), torch.get_rng_state()
    first = make(index, generator(3))
    assert torch.equal(first, make(index, generator(3)))
    assert not torch.equal(first, make(index, generator(4)))
    assert torch.equal(torch.get_rng_state(), before)


def shaken(rows, source):
    return rows + torch.empty_like(rows).normal_(generator=source)


def test_a_callable_may_write_into_its_rows():
    X, samples = standardised()
    index = torch.arange(6)
    before = X.copy(), samples[index].clone()
    SampleViews(samples, FeatureMap(3), lambda rows, _: rows.zero_())(index, None)
    assert np.array_equal(X, before[0])
    assert torch.equal(samples[index], before[1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64])
def test_a_callable_may_return_numbers_of_another_type(dtype):
    samples = Samples(np.arange(12.0).reshape(4, 3), np.zeros(3), np.ones(3))
    index = torch.arange(4)
    make = SampleViews(samples, FeatureMap(3), lambda rows, _: rows.to(dtype))
    assert torch.equal(make(index, generator()), samples[index])


def test_no_gradient_passes_by_a_variant():
    _, samples = standardised()
    weight = torch.ones(3, requires_grad=True)
    make = SampleViews(samples, FeatureMap(3), lambda rows, _: rows * weight)
    assert not make(torch.arange(6), generator()).requires_grad


@pytest.mark.parametrize("n", [1, 2, 6])
@pytest.mark.parametrize(
    ("vary", "message"),
    [
        (lambda rows, _: rows[:, :2], r"shape of its rows, \(\d, 3\), got \(\d, 2\)"),
        (lambda rows, _: rows.sum(), r"shape of its rows, \(\d, 3\), got \(\)"),
        (lambda rows, _: None, r"must return a tensor of the shape.*got None"),
        (lambda rows, _: rows.numpy(), r"must return a tensor.*got array\("),
        (lambda rows, _: rows / 0, "views must return finite values"),
        (lambda rows, _: rows * math.nan, "views must return finite values"),
    ],
    ids=["narrow", "scalar", "none", "numpy", "infinite", "nan"],
)
def test_variants_that_can_not_be_used_are_refused(n, vary, message):
    with pytest.raises(ValueError, match=message):
        check_view(vary, standardised(n)[1])


@pytest.mark.parametrize("n", [1, 2, 6])
def test_a_callable_is_tried_on_two_samples_at_most(n):
    X, samples = standardised(n)
    seen = []
    check_view(lambda rows, _: seen.append(rows) or rows, samples)
    (rows,) = seen
    np.testing.assert_allclose(rows, X[:2], rtol=1e-5)


def test_errors_of_a_callable_are_its_own():
    def broken(rows, source):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        check_view(broken, standardised()[1])


@pytest.mark.parametrize("shape", [(16, 16), (3, 16, 16)])
def test_stronger_views_differ_more(shape, generator):
    x = torch.rand(200, math.prod(shape), generator=generator)

    def change(strength):
        views = ImageViews(shape, 0.0, 1.0, strength=strength)
        return (views(x, torch.Generator().manual_seed(0)) - x).square().mean()

    assert change(0.1) < change(0.5) < change(1.0) < change(2.0)


@pytest.mark.parametrize("strength", [0, -1, 2.5])
def test_strength_must_be_allowed(strength):
    message = f"strength must be greater than 0 and at most 2.0, got {strength}"
    with pytest.raises(ValueError, match=message):
        ImageViews((16, 16), 0.0, 1.0, strength=strength)
