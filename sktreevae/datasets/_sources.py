"""Where datasets come from: files, addresses, checksums and descriptions."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SOURCES", "File", "Source"]


@dataclass(frozen=True)
class File:
    """File of a dataset.

    Parameters
    ----------
    name : str
        Name in the folder of the dataset.
    url : str
        Address of the download.
    size : int
        Number of bytes.
    sha256 : str
        Checksum in hexadecimal digits.
    """

    name: str
    url: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Source:
    """Files and description of a dataset.

    Parameters
    ----------
    name : str
        Name of the folder of the dataset.
    files : tuple of File
        What is downloaded.
    description : str
        Text of ``DESCR``.
    """

    name: str
    files: tuple[File, ...]
    description: str

    def file(self, name: str) -> File:
        """Return the file of a name."""
        return next(file for file in self.files if file.name == name)


# The sizes and checksums are those that TensorFlow Datasets publishes in
# tensorflow_datasets/url_checksums: mnist.txt, fashion_mnist.txt, cifar10.txt,
# cifar100.txt, omniglot.txt and celeb_a.txt. 20 Newsgroups has no files here:
# scikit-learn downloads and checks them.

_MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_OMNIGLOT = "https://github.com/brendenlake/omniglot/raw/master/python/"
_CELEBA = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="

_SOURCES = (
    Source(
        "mnist",
        (
            File(
                "train-images-idx3-ubyte.gz",
                _MNIST + "train-images-idx3-ubyte.gz",
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            File(
                "train-labels-idx1-ubyte.gz",
                _MNIST + "train-labels-idx1-ubyte.gz",
                28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            File(
                "t10k-images-idx3-ubyte.gz",
                _MNIST + "t10k-images-idx3-ubyte.gz",
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            File(
                "t10k-labels-idx1-ubyte.gz",
                _MNIST + "t10k-labels-idx1-ubyte.gz",
                4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
        """MNIST
=====

70 000 gray images of handwritten digits, 28 by 28 pixels, white on black. 60 000 are
the training part and 10 000 the test part. Values are gray levels divided by 255.

Source: http://yann.lecun.com/exdb/mnist/

LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
recognition", Proceedings of the IEEE 86, 1998.
""",
    ),
    Source(
        "fashion_mnist",
        (
            File(
                "train-images-idx3-ubyte.gz",
                _FASHION + "train-images-idx3-ubyte.gz",
                26_421_880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            File(
                "train-labels-idx1-ubyte.gz",
                _FASHION + "train-labels-idx1-ubyte.gz",
                29_515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            File(
                "t10k-images-idx3-ubyte.gz",
                _FASHION + "t10k-images-idx3-ubyte.gz",
                4_422_102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            File(
                "t10k-labels-idx1-ubyte.gz",
                _FASHION + "t10k-labels-idx1-ubyte.gz",
                5_148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
        """Fashion-MNIST
=============

70 000 gray images of clothes, shoes and bags in ten classes, 28 by 28 pixels, bright on
black. 60 000 are the training part and 10 000 the test part. Values are gray levels
divided by 255.

Source: https://github.com/zalandoresearch/fashion-mnist

Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine
learning algorithms", arXiv 1708.07747, 2017.
""",
    ),
    Source(
        "cifar10",
        (
            File(
                "cifar-10-binary.tar.gz",
                _CIFAR + "cifar-10-binary.tar.gz",
                170_052_171,
                "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
        """CIFAR-10
========

60 000 color images in ten classes, six of animals and four of vehicles, 32 by 32
pixels. 50 000 are the training part and 10 000 the test part. Values are the levels of
red, green and blue divided by 255.

Source: https://www.cs.toronto.edu/~kriz/cifar.html

Krizhevsky, "Learning multiple layers of features from tiny images", technical report,
University of Toronto, 2009.
""",
    ),
    Source(
        "cifar100",
        (
            File(
                "cifar-100-binary.tar.gz",
                _CIFAR + "cifar-100-binary.tar.gz",
                168_513_733,
                "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            ),
        ),
        """CIFAR-100
=========

60 000 color images in 100 classes, which are grouped into 20 superclasses of five
classes each, 32 by 32 pixels. 50 000 are the training part and 10 000 the test part.
Values are the levels of red, green and blue divided by 255.

Source: https://www.cs.toronto.edu/~kriz/cifar.html

Krizhevsky, "Learning multiple layers of features from tiny images", technical report,
University of Toronto, 2009.
""",
    ),
    Source(
        "omniglot",
        (
            File(
                "images_background.zip",
                _OMNIGLOT + "images_background.zip",
                9_464_212,
                "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
            ),
            File(
                "images_evaluation.zip",
                _OMNIGLOT + "images_evaluation.zip",
                6_462_886,
                "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
            ),
        ),
        """Omniglot
========

Handwritten characters of 50 alphabets, each drawn by 20 people: 19 280 images of the 30
alphabets of the background set, and 13 180 of the 20 alphabets of the evaluation set.
Strokes are black on white: 0 is ink and 1 is paper. The released images have 105 by 105
pixels.

Source: https://github.com/brendenlake/omniglot

Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic
program induction", Science 350, 2015.
""",
    ),
    Source(
        "celeba",
        (
            File(
                "img_align_celeba.zip",
                _CELEBA + "0B7EVK8r0v71pZjFTYXZWM3FlRnM",
                1_443_490_838,
                "46fb89443c578308acf364d7d379fe1b9efb793042c0af734b6112e4fd3a8c74",
            ),
            File(
                "list_attr_celeba.txt",
                _CELEBA + "0B7EVK8r0v71pblRyaVFSWGxPY0U",
                26_721_026,
                "f0e5da289d5ccf75ffe8811132694922b60f2af59256ed362afa03fefba324d0",
            ),
            File(
                "list_eval_partition.txt",
                _CELEBA + "0B7EVK8r0v71pY0NSMzRuSXJEVkk",
                2_836_386,
                "fc955bcb3ef8fbdf7d5640d9a8693a8431b5f2ee291a5c1449a1549e7e073fe7",
            ),
        ),
        """CelebA
======

202 599 color photographs of faces of celebrities, aligned by the eyes, with 40
attributes each, which are present (1) or absent (0). 162 770 are the training part,
19 867 the validation part and 19 962 the test part. Of the 178 by 218 pixels, the
148 by 148 in the middle are scaled. Values are the levels of red, green and blue
divided by 255. The images are for non-commercial research only.

Source: https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html

Liu, Luo, Wang and Tang, "Deep learning face attributes in the wild", ICCV 2015.
""",
    ),
    Source(
        "20newsgroups",
        (),
        """20 Newsgroups, tf-idf
=====================

18 846 posts to 20 newsgroups: 11 314 in the training part and 7532 in the test part,
which is later. Values are the tf-idf of the most frequent terms of the training part,
in rows of unit length. A post without any of these terms is a row of zeros. The dots in
the names of the groups give a coarser level of classes.

Source: http://qwone.com/~jason/20Newsgroups/, read by
`sklearn.datasets.fetch_20newsgroups`.

Lang, "NewsWeeder: learning to filter netnews", ICML 1995.
""",
    ),
)

SOURCES = {source.name: source for source in _SOURCES}
"""Sources by name."""
