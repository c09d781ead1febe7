import sys

import numpy as np
import pytest

from sktreevae.datasets import fetch_celeba

from .cases import ATTRIBUTES, folder, write_celeba


@pytest.mark.parametrize(
    ("subset", "rows"),
    [("train", [0, 3]), ("valid", [1, 4]), ("test", [2, 5]), ("all", list(range(6)))],
)
def test_parts_have_images_and_attributes(tmp_path, rng, subset, rows):
    colors, signs = write_celeba(tmp_path, rng)
    bunch = fetch_celeba(data_home=tmp_path, subset=subset, image_size=16)
    assert bunch.images.shape == (len(rows), 16, 16, 3)
    assert np.array_equal(bunch.target, (signs[rows] + 1) // 2)
    assert bunch.target_names.tolist() == ATTRIBUTES
    # What is outside of the square in the middle is not seen.
    expected = colors[rows][:, None, None] / 255
    assert np.abs(bunch.images - expected).max() < 0.03
    assert np.shares_memory(bunch.data, bunch.images)
    other = fetch_celeba(data_home=tmp_path, subset=subset, as_frame=True)
    assert other.data.shape == (len(rows), 3 * 64 * 64)
    assert other.frame.columns.tolist() == other.feature_names + ATTRIBUTES


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list_attr_celeba.txt", "2\nA B\n1.jpg 1 -1\n", "it has 1 of 2 images"),
        ("list_attr_celeba.txt", "1\nA B\n1.jpg 1\n", "requires 3 columns but 2"),
        ("list_attr_celeba.txt", "", "invalid literal for int"),
        ("list_eval_partition.txt", "1.jpg 0 1\n", "requires 2 columns but 3"),
        ("list_eval_partition.txt", "1.jpg 0\n", "name other images"),
    ],
)
def test_other_lists_are_refused(tmp_path, rng, name, content, message):
    write_celeba(tmp_path, rng)
    (folder(tmp_path, "celeba") / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        fetch_celeba(data_home=tmp_path)


def test_missing_images_are_named(tmp_path, rng):
    write_celeba(tmp_path, rng, n=2)
    archive = (folder(tmp_path, "celeba") / "img_align_celeba.zip").read_bytes()
    write_celeba(tmp_path, rng, n=4)
    (folder(tmp_path, "celeba") / "img_align_celeba.zip").write_bytes(archive)
    with pytest.raises(ValueError, match=r"celeba.zip is damaged .*000004.jpg"):
        fetch_celeba(data_home=tmp_path)


def test_images_need_pillow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"pip install 'sktreevae\[images\]'"):
        fetch_celeba(data_home=tmp_path)
