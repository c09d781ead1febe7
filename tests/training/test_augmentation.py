import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sktreevae.training import augmentation
from sktreevae.training.augmentation import ImageAugmentation, check_augmentation

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


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(shape, n=6, low=0.0, high=1.0):
    x = torch.rand(n, math.prod(shape), generator=generator(1))
    return low + (high - low) * x


def numbers(*values):
    return torch.tensor([float(value) for value in values])


# Augmentations of images


@pytest.mark.parametrize("shape", SHAPES)
def test_the_generator_alone_decides(shape):
    x, augment = rows(shape, low=-3.0, high=2.0), ImageAugmentation(shape, -3.0, 2.0)
    before = x.clone(), torch.get_rng_state()
    first, other = augment(x, generator(3)), augment(x, generator(4))
    assert (first.shape, first.dtype) == (x.shape, x.dtype)
    assert -3 <= first.min() < first.max() <= 2
    assert torch.equal(first, augment(x, generator(3)))
    for one, two in ((first, x), (first, other)):
        assert ((one - two).abs().amax(1) > 0.01).all()
    assert torch.equal(x, before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_come_first_or_last(channels):
    last = rows((20, 33, channels)).view(-1, 20, 33, channels)
    first = last.permute(0, 3, 1, 2).flatten(1)
    expected = ImageAugmentation((20, 33, channels), 0.0, 1.0)(
        last.flatten(1), generator()
    )
    result = ImageAugmentation((channels, 20, 33), 0.0, 1.0)(first, generator())
    result = result.view(-1, channels, 20, 33).permute(0, 2, 3, 1).flatten(1)
    assert torch.equal(result, expected)


def test_units_do_not_matter():
    x = rows((32, 32, 3))
    expected = ImageAugmentation((32, 32, 3), 0.0, 1.0)(x, generator())
    result = ImageAugmentation((32, 32, 3), -2.0, 8.0)(10 * x - 2, generator())
    torch.testing.assert_close(result, 10 * expected - 2, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(8, 8, 2), (2, 8, 8), (8, 8, 4)])
def test_other_channels_are_refused(shape):
    with pytest.raises(ValueError, match=r"1 or 3 channels.*got \(\d, 8, \d\)"):
        ImageAugmentation(shape, 0.0, 1.0)


def test_gray_images_are_never_flipped():
    letter = torch.zeros(28, 28)
    letter[4:24, 6:12] = 1
    letter[18:24, 6:22] = 1  # an L
    x = letter.flatten().expand(500, -1)
    result = ImageAugmentation((28, 28), 0.0, 1.0)(x, generator())
    for flipped in (letter.flip(1), letter.flip(0), letter.flip(0, 1)):
        assert (result @ letter.flatten() > result @ flipped.flatten()).all()


def test_gray_blobs_move_within_the_bounds():
    image = torch.zeros(84, 56)
    image[41:43, 27:29] = 1  # in the middle, where only shifts move it
    x = image.flatten().expand(400, -1)
    result = ImageAugmentation((84, 56), 0.0, 1.0)(x, generator()).view(-1, 84, 56)
    moves = centroids(result) - centroids(image[None])
    assert (moves.amin(0) < -1.8).all()
    assert (moves.amax(0) > 1.8).all()
    down, right = moves.T.abs()
    assert 2.8 < down.max() < 3.1  # a 28th of 84
    assert 1.8 < right.max() < 2.1


def test_color_images_are_flipped_half_of_the_time():
    image = torch.linspace(0.2, 0.8, 32)[None, :, None].expand(32, 32, 3)
    x = image.flatten().expand(1000, -1)
    result = ImageAugmentation((32, 32, 3), 0.0, 1.0)(x, generator()).view(
        -1, 32, 32, 3
    )
    falls = result[:, 16, 0, 1] > result[:, 16, -1, 1]
    assert 0.45 < falls.float().mean() < 0.55


def test_some_color_images_become_gray():
    x = torch.tensor([0.6, 0.5, 0.4]).repeat(1024).expand(1000, -1)
    result = ImageAugmentation((32, 32, 3), 0.0, 1.0)(x, generator()).view(-1, 1024, 3)
    gray = (result.amax(2) - result.amin(2)).amax(1) < 1e-5
    assert 0.15 < gray.float().mean() < 0.25


def test_crops_have_the_areas_of_the_recipe(monkeypatch):
    maps, crop_map = [], augmentation.crop_map
    monkeypatch.setattr(
        augmentation, "crop_map", lambda *a: maps.append(a) or crop_map(*a)
    )
    ImageAugmentation((8, 8, 3), 0.0, 1.0)(torch.zeros(2000, 192), generator())
    width, height = maps[0][0]
    assert 0.2 - 1e-5 < (width * height).min() < 0.21
    assert (width * height).max() > 0.95
    assert 0.74 < (width / height).min() < 0.76
    assert 1.32 < (width / height).max() < 1.34


@pytest.mark.parametrize(("side", "is_blurred"), [(47, False), (48, True)])
def test_only_large_images_are_blurred(side, is_blurred, monkeypatch):
    calls = []
    monkeypatch.setattr(
        augmentation, "gaussian_blur", lambda x, s: calls.append(s) or x
    )
    x = rows((side, 64, 3), n=200)
    ImageAugmentation((side, 64, 3), 0.0, 1.0)(x, generator())
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
    shift = values.pop("right"), values.pop("down")
    theta = augmentation.rotation_map(**values, shift=shift, size=tuple(image.shape))
    return augmentation.warp(image[None, None], theta)[0, 0]


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


def crop(images, width=1.0, height=1.0, right=0.0, down=0.0, flip=False):
    size, position = (
        (numbers(a), numbers(b)) for a, b in ((width, height), (right, down))
    )
    theta = augmentation.crop_map(size, position, torch.tensor([flip]))
    return augmentation.warp(images, theta)


@pytest.mark.parametrize("flip", [False, True])
def test_the_whole_crop_changes_nothing_but_the_direction(flip):
    images = rows((3, 9, 14), n=1).view(1, 3, 9, 14)
    expected = images.flip(3) if flip else images
    torch.testing.assert_close(crop(images, flip=flip), expected, atol=1e-5, rtol=0)


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


def recolor(images, **parameters):
    values = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    values |= parameters
    values = {name: numbers(value) for name, value in values.items()}
    return augmentation.change_colors(images, **values)


def luminance(images):
    return images.movedim(1, -1) @ images.new_tensor(augmentation.RGB_TO_YIQ[0])


@pytest.fixture
def image():
    return rows((3, 8, 8), n=1).view(1, 3, 8, 8)


@pytest.mark.parametrize(
    ("change", "factor", "center"),
    [
        ({"hue": 0.0}, 1.0, torch.zeros_like),
        ({"hue": 2 * math.pi}, 1.0, torch.zeros_like),
        ({"brightness": 0.7}, 0.7, torch.zeros_like),
        ({"contrast": 1.3}, 1.3, lambda images: luminance(images).mean()),
        ({"saturation": 0.6}, 0.6, lambda images: luminance(images)[:, None]),
    ],
)
def test_a_change_of_color_scales_around_its_center(image, change, factor, center):
    expected = center(image) + factor * (image - center(image))
    result = recolor(image, **change)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)


def test_hue_turns_colors_and_leaves_luminance_and_gray(image):
    result = recolor(image, hue=2 * math.pi / 3)
    torch.testing.assert_close(luminance(result), luminance(image))
    red = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None].expand(1, 3, 2, 2)
    for turn, channel in ((-1 / 3, 1), (1 / 3, 2)):
        result = recolor(red, hue=2 * math.pi * turn)
        assert (result.argmax(1) == channel).all()
    gray = torch.full((1, 3, 2, 2), 0.4)
    torch.testing.assert_close(recolor(gray, hue=1), gray)


def test_blur_is_a_gaussian_of_its_width():
    image = torch.zeros(2, 1, 31, 31)
    image[:, :, 15, 15] = 1
    result = augmentation.gaussian_blur(image, numbers(0, 2))
    torch.testing.assert_close(result[0], image[0])
    kernel = (-(torch.arange(31.0) - 15).square() / 8).exp()
    kernel = kernel / kernel.sum()
    torch.testing.assert_close(result[1, 0], kernel[:, None] * kernel)


# A user's augmentation


@pytest.mark.parametrize("n", [1, 6])
@pytest.mark.parametrize(
    ("augment", "message"),
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
def test_augmentations_that_can_not_be_used_are_refused(n, augment, message):
    with pytest.raises(ValueError, match=message):
        check_augmentation(augment, rows((3,), n=n))


@pytest.mark.parametrize("shape", [(16, 16), (3, 16, 16)])
def test_stronger_augmentations_differ_more(shape, generator):
    x = torch.rand(200, math.prod(shape), generator=generator)

    def change(strength):
        augment = ImageAugmentation(shape, 0.0, 1.0, strength=strength)
        return (augment(x, torch.Generator().manual_seed(0)) - x).square().mean()

    assert change(0.1) < change(0.5) < change(1.0) < change(2.0)


@pytest.mark.parametrize("strength", [0, -1, 2.5])
def test_strength_must_be_allowed(strength):
    message = f"strength must be greater than 0 and at most 2.0, got {strength}"
    with pytest.raises(ValueError, match=message):
        ImageAugmentation((16, 16), 0.0, 1.0, strength=strength)
