"""Public datasets, from a local folder or downloaded once, as in `sklearn.datasets`."""

from ._celeba import fetch_celeba
from ._cifar import fetch_cifar10, fetch_cifar100
from ._mnist import fetch_fashion_mnist, fetch_mnist
from ._newsgroups import fetch_20newsgroups_tfidf
from ._omniglot import fetch_omniglot

__all__ = [
    "fetch_20newsgroups_tfidf",
    "fetch_celeba",
    "fetch_cifar10",
    "fetch_cifar100",
    "fetch_fashion_mnist",
    "fetch_mnist",
    "fetch_omniglot",
]
