import zipfile

import numpy as np
import pytest

from sktreevae.datasets import fetch_omniglot
from sktreevae.exceptions import InvalidParameterError

from .cases import ALPHABETS, folder, write_omniglot

BACKGROUND, EVALUATION = ALPHABETS.values()


@pytest.fixture
def home(tmp_path):
    write_omniglot(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("subset", "names"),
    [("background", BACKGROUND), ("evaluation", EVALUATION)]
    + [("all", BACKGROUND + EVALUATION)],
)
def test_alphabets_are_classes_that_have_characters(home, subset, names):
    bunch = fetch_omniglot(data_home=home, subset=subset)
    assert bunch.images.shape == (6 * len(names), 28, 28)
    assert bunch.target_names.tolist() == sorted(names)
    assert np.bincount(bunch.target).tolist() == [6] * len(names)
    assert np.bincount(bunch.target_character).tolist() == [3] * 2 * len(names)
    characters = bunch.target_character_names[bunch.target_character]
    alphabets = [name.split("/")[0] for name in characters]
    assert bunch.target_names[bunch.target].tolist() == alphabets


def test_ink_is_0_and_paper_1_as_released(home):
    bunch = fetch_omniglot(data_home=home, image_size=105)
    n_rows = (bunch.images[:, :, 0] == 0).sum(axis=1)
    assert set(np.unique(bunch.data)) == {0, 1}
    assert [len(bunch.target_names[t]) for t in bunch.target] == n_rows.tolist()


def test_images_are_averaged(home):
    large = fetch_omniglot(data_home=home, image_size=105)
    small = fetch_omniglot(data_home=home)
    means = [images.images.mean(axis=(1, 2)) for images in (large, small)]
    assert np.abs(np.subtract(*means)).max() < 0.01
    assert ((small.data > 0) & (small.data < 1)).any()


def test_alphabets_can_be_chosen(home):
    everything = fetch_omniglot(data_home=home)
    bunch = fetch_omniglot(data_home=home, alphabets=["Oriya", "Braille"])
    assert bunch.target_names.tolist() == ["Braille", "Oriya"]
    chosen = np.isin(everything.target_names[everything.target], ["Braille", "Oriya"])
    assert np.array_equal(bunch.data, everything.data[chosen])


@pytest.mark.parametrize("alphabets", [["Klingon"], []])
def test_unknown_alphabets_are_refused(home, alphabets):
    with pytest.raises(
        InvalidParameterError, match=r"alphabets must be names of \['Bengali', 'Br"
    ):
        fetch_omniglot(data_home=home, subset="background", alphabets=alphabets)


def test_lost_images_are_noticed(home):
    path = folder(home, "omniglot") / "images_background.zip"
    with zipfile.ZipFile(path, "a") as archive:
        name = next(name for name in archive.namelist() if name.endswith(".png"))
        archive.writestr(name.replace(".png", "a.png"), archive.read(name))
    with pytest.raises(ValueError, match=r"its characters have \[3, 4\] images"):
        fetch_omniglot(data_home=home)


def test_what_is_no_image_is_named(home):
    path = folder(home, "omniglot") / "images_background.zip"
    name = "images_background/Bengali/character01/0001_00.png"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "text")
    with pytest.raises(ValueError, match=f"{name} is no image"):
        fetch_omniglot(data_home=home, subset="background")
