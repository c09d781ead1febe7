import inspect
import re
import tracemalloc

import numpy as np
import pytest
import torch

from sktreevae import TreeVAEClustering
from sktreevae.data import KINDS, TrainingData
from sktreevae.estimator.parameters import ImageShape, training_options, validate_rows
from sktreevae.model import LIKELIHOODS


@pytest.mark.parametrize(
    ("shape", "is_allowed"),
    [
        *((x, True) for x in [(8, 8), [8, 9], (28, 28, 3), (np.int64(8), 8, 1)]),
        *((x, True) for x in [(1, 28, 28), (3, 64, 8)]),
        *((x, False) for x in [8, "88", (8,), (8, 7), (3, 8), (8, 8, 0), (0, 8, 8)]),
        *(
            (x, False)
            for x in [(3, 7, 8), (28, 7, 3), (8.0, 8), (True, 8, 8), (8,) * 4]
        ),
    ],
)
def test_shapes_of_images(shape, is_allowed):
    assert ImageShape().accepts(shape) == is_allowed
    assert str(ImageShape()).startswith(
        "a tuple of 2 or 3 ints, two of them sides >= 8"
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        *(
            ({name: kind}, f"{name}='{kind}' needs an image_shape, got None")
            for name in ("encoder", "decoder")
            for kind in ("cnn", "resnet")
        ),
        ({"views": "image"}, "views='image' needs an image_shape, got None"),
        (
            {"views": "image", "image_shape": (8, 8, 2)},
            r"views='image' needs images of 1 or 3 channels.*\(8, 8, 2\)",
        ),
        ({"image_shape": (8, 9)}, r"\(8, 9\) means 72 features, but X has 64"),
    ],
)
@pytest.mark.parametrize("error", [ValueError, TypeError])
def test_inconsistent_parameters_for_images_are_refused_before_any_work(
    parameters, message, error, monkeypatch
):
    monkeypatch.setattr(TrainingData, "prepare", None)
    with pytest.raises(error, match=message):
        TreeVAEClustering(2, **parameters).fit(np.eye(64))


@pytest.mark.parametrize(
    ("settings", "n_samples", "name", "expected"),
    [
        ({}, 100, "batch_size", 256),
        ({}, 256_000, "batch_size", 256),
        ({}, 1_000_000, "batch_size", 1000),
        ({"batch_size": 7}, 1_000_000, "batch_size", 7),
        ({}, 100, "learning_rate", 2e-3),
        ({"growth": "published"}, 100, "learning_rate", 1e-3),
        ({"growth": "published", "learning_rate": 0.5}, 100, "learning_rate", 0.5),
    ],
)
def test_automatic_options_of_the_training(settings, n_samples, name, expected):
    model = TreeVAEClustering(**settings)
    options = training_options(model, n_samples, torch.device("cpu"))
    assert getattr(options, name) == expected


@pytest.mark.parametrize(
    ("name", "registry"), [("kind", KINDS), ("likelihood", LIKELIHOODS)]
)
def test_the_docstring_lists_all_options(name, registry):
    doc = inspect.getdoc(TreeVAEClustering)
    (text,) = re.findall(rf"(?s)\n{name} : (.+?)\n\S", doc)
    values, _, items = text.partition('default="auto"')
    options = ["auto", *registry]
    assert re.findall(r'"(\w+)"', values) == options
    assert re.findall(r'\n +- "(\w+)":', items) == options


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8])
def test_rows_are_checked_chunk_by_chunk(dtype):
    # The sum of the float16 values overflows, so each of them is looked at.
    X = np.broadcast_to(dtype(1), (1_000_000, 100))
    tracemalloc.start()
    try:
        assert np.shares_memory(validate_rows(TreeVAEClustering(), X, reset=True), X)
        assert tracemalloc.get_traced_memory()[1] < X.size / 2
    finally:
        tracemalloc.stop()
