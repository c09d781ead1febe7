"""Small datasets in the formats of the real ones."""

import gzip
import io
import itertools
import struct
import tarfile
import zipfile

import numpy as np
from PIL import Image

FINE = [f"fine{label}" for label in range(100)]
COARSE = [f"coarse{label}" for label in range(20)]
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer"]
CIFAR10 += ["dog", "frog", "horse", "ship", "truck"]
ALPHABETS = {
    "images_background": ["Bengali", "Braille"],
    "images_evaluation": ["Oriya", "Old_Church_Slavonic_(Cyrillic)"],
}
ATTRIBUTES = [f"Attribute_{number}" for number in range(40)]


def folder(home, name):
    path = home / "sktreevae" / name
    path.mkdir(parents=True, exist_ok=True)
    return path


def idx(array):
    """Return the bytes of an idx file."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def random_digits(rng, n):
    return rng.integers(0, 256, (n, 28, 28), np.uint8), np.arange(n) % 10


def write_mnist(home, rng, name="mnist", n_train=12, n_test=5):
    """Write the four idx files, and return the images and labels of each part."""
    parts = {"train": random_digits(rng, n_train), "test": random_digits(rng, n_test)}
    path = folder(home, name)
    for part, prefix in (("train", "train"), ("test", "t10k")):
        for i, kind in enumerate(("images-idx3", "labels-idx1")):
            file = path / f"{prefix}-{kind}-ubyte.gz"
            file.write_bytes(gzip.compress(idx(parts[part][i])))
    return parts


def tar(folder, members):
    """Return the bytes of a compressed archive of files in a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            if content is not None:
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size = len(bytes(content))
                archive.addfile(member, io.BytesIO(bytes(content)))
    return buffer.getvalue()


def records(rng, labels):
    """Return samples of CIFAR: labels, and planes of red, green and blue."""
    labels = np.atleast_2d(np.asarray(labels, np.uint8).T).T
    planes = rng.integers(0, 256, (len(labels), 3072), np.uint8)
    return np.hstack([labels, planes])


def lines(names):
    return ("\n".join(names) + "\n\n").encode()


def write_cifar10(home, rng, n=3, **changes):
    """Write the archive, and return the samples of each file."""
    names = [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]
    labels = [(np.arange(n) + i) % 10 for i in range(6)]
    samples = {k: records(rng, v) for k, v in zip(names, labels, strict=True)}
    others = {"batches.meta.txt": lines(CIFAR10), "readme.html": b"<html>"}
    path = folder(home, "cifar10") / "cifar-10-binary.tar.gz"
    path.write_bytes(tar("cifar-10-batches-bin", samples | others | changes))
    return samples


def write_cifar100(home, rng, n=7):
    """Write the archive, and return the samples of each file."""
    fine = rng.integers(0, 100, n)
    samples = {
        "train.bin": records(rng, np.stack([fine // 5, fine], axis=1)),
        "test.bin": records(rng, [[19, 99], [0, 3]]),
    }
    others = {"fine_label_names.txt": lines(FINE)}
    others["coarse_label_names.txt"] = lines(COARSE)
    path = folder(home, "cifar100") / "cifar-100-binary.tar.gz"
    path.write_bytes(tar("cifar-100-binary", samples | others))
    return samples


def encode(image, kind):
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def write_omniglot(home, n_characters=2, n_images=3):
    """Write both archives. Ink fills as many rows as the alphabet has letters."""
    for archive, alphabets in ALPHABETS.items():
        path = folder(home, "omniglot") / f"{archive}.zip"
        numbers = itertools.product(alphabets, range(n_characters), range(n_images))
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(f"{archive}/", "")
            for alphabet, i, number in numbers:
                paper = np.ones((105, 105), bool)
                paper[: len(alphabet)] = False
                name = f"{alphabet}/character{i + 1:02d}/{i + 1:04d}_{number:02d}.png"
                file.writestr(
                    f"{archive}/{name}", encode(Image.fromarray(paper), "png")
                )
            file.writestr(f"__MACOSX/{archive}/._Bengali.png", "no image")


def write_celeba(home, rng, n=6):
    """Write the archive and the lists: colors inside and outside of the square."""
    path = folder(home, "celeba")
    names = [f"{number:06d}.jpg" for number in range(1, n + 1)]
    colors = rng.integers(0, 256, (n, 3), np.uint8)
    with zipfile.ZipFile(path / "img_align_celeba.zip", "w") as file:
        for name, color in zip(names, colors, strict=True):
            image = np.zeros((218, 178, 3), np.uint8)
            image[30:-30, 10:-10] = color
            file.writestr(
                f"img_align_celeba/{name}", encode(Image.fromarray(image), "jpeg")
            )
    signs = rng.choice([-1, 1], (n, 40))
    rows = [
        f"{name} " + " ".join(f"{sign:2d}" for sign in row)
        for name, row in zip(names, signs, strict=True)
    ]
    text = f"{n}\n{' '.join(ATTRIBUTES)} \n" + "\n".join(rows) + "\n"
    (path / "list_attr_celeba.txt").write_text(text)
    parts = "".join(f"{name} {i % 3}\n" for i, name in enumerate(names))
    (path / "list_eval_partition.txt").write_text(parts)
    return colors, signs
