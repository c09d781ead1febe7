import numpy as np
import pytest

from sktreevae.datasets import fetch_cifar10, fetch_cifar100

from .cases import COARSE, FINE, write_cifar10, write_cifar100


def planes(images):
    """Return the bytes of images as they are in the files."""
    levels = np.round(images * 255).astype(np.uint8)
    return np.moveaxis(levels, 3, 1).reshape(len(images), -1)


@pytest.mark.parametrize(
    ("subset", "files"),
    [("train", slice(0, 5)), ("test", slice(5, 6)), ("all", slice(0, 6))],
)
def test_cifar10_is_read_in_order(tmp_path, rng, subset, files):
    samples = np.vstack(list(write_cifar10(tmp_path, rng).values())[files])
    bunch = fetch_cifar10(data_home=tmp_path, subset=subset)
    assert np.array_equal(bunch.target, samples[:, 0])
    assert np.array_equal(planes(bunch.images), samples[:, 1:])


@pytest.mark.parametrize(
    ("subset", "file"), [("train", "train.bin"), ("test", "test.bin")]
)
def test_cifar100_has_classes_and_superclasses(tmp_path, rng, subset, file):
    samples = write_cifar100(tmp_path, rng)[file]
    bunch = fetch_cifar100(data_home=tmp_path, subset=subset)
    assert np.array_equal(bunch.target_coarse, samples[:, 0])
    assert np.array_equal(bunch.target, samples[:, 1])
    assert np.array_equal(planes(bunch.images), samples[:, 2:])
    assert bunch.target_names.tolist() == FINE
    assert bunch.target_coarse_names.tolist() == COARSE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_batch_3.bin": None}, "data_batch_3.bin' not found"),
        ({"batches.meta.txt": None}, "batches.meta.txt' not found"),
        ({"data_batch_2.bin": bytes(3072)}, "cannot reshape array of size 3072"),
        ({"data_batch_1.bin": bytes([10]) + bytes(3072)}, "from 0 to 9, got 1 to 10"),
        ({"batches.meta.txt": "\xe4".encode()}, "can't decode"),
    ],
)
def test_other_archives_are_refused(tmp_path, rng, changes, message):
    write_cifar10(tmp_path, rng, **changes)
    with pytest.raises(ValueError, match=f"binary.tar.gz is damaged .*{message}"):
        fetch_cifar10(data_home=tmp_path)
