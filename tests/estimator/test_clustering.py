import functools
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.cluster.hierarchy import is_valid_linkage
from sklearn.cluster import AgglomerativeClustering
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from torch import nn

from sktreevae import TreeVAEClustering
from sktreevae.data import TrainingData
from sktreevae.graph import GraphOptions
from sktreevae.metrics import dendrogram_purity
from sktreevae.model import LIKELIHOODS
from sktreevae.training.growth import GrowthOptions

from .cases import METHODS, QUICK, make_images

COUNT_LIKELIHOODS = [name for name, kind in LIKELIHOODS.items() if kind.is_count]
LINEAR = "torch.nn.modules.linear:Linear"


# What it finds


def test_finds_blobs_and_how_they_nest(blobs, default_blobs):
    (X, y), model = blobs, default_blobs
    assert adjusted_rand_score(y, model.labels_) == 1.0
    assert adjusted_rand_score(y // 2, model.predict(X, n_clusters=2)) == 1.0
    assert dendrogram_purity(y // 2, model) == 1.0


def test_small_clusters_are_kept_by_default():
    sizes = [7] + [111] * 9
    X, y = make_blobs(sizes, n_features=10, random_state=0)
    model = TreeVAEClustering(10, **QUICK).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1.0
    with pytest.warns(UserWarning, match="support 9 of the 10 clusters"):
        model = TreeVAEClustering(10, min_cluster_size=0.01, **QUICK).fit(X)
    assert np.bincount(model.labels_).min() >= 10


# Invariants


@pytest.mark.parametrize("n_clusters", [None, 1, 3])
def test_probabilities_sum_to_one_and_argmax_to_predict(model, digits, n_clusters):
    proba = model.predict_proba(digits[0], n_clusters=n_clusters)
    assert proba.shape == (300, n_clusters or 6)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    labels = model.predict(digits[0], n_clusters=n_clusters)
    assert (proba.argmax(axis=1) == labels).all()


@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.uint8, bool])
def test_output_has_the_float_type_of_the_input(model, digits, method, dtype):
    expected = dtype if dtype == np.float32 else np.float64
    assert getattr(model, method)(digits[0].astype(dtype)).dtype == expected


def test_seeds_differ(blobs):
    X = blobs[0]
    seeds = 0, 1, None, None
    settings = {"max_iter": 1, "hidden_dim": 8}
    fits = [TreeVAEClustering(2, random_state=k, **settings).fit(X) for k in seeds]
    assert len({fit.transform(X).tobytes() for fit in fits}) == 4


@pytest.mark.parametrize(
    "settings",
    [
        {"views": "neighbors"},
        {"growth": "iterative", "views": lambda rows, _: rows},
        {"growth": "published"},
        {"encoder": nn.Linear, "decoder": nn.Linear},
    ],
    ids=["guided", "iterative", "published", "networks"],
)
def test_global_random_states_and_rows_stay_as_they_are(blobs, settings, tmp_path):
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    X = blobs[0].copy()
    model = TreeVAEClustering(2, max_iter=1, hidden_dim=8, **settings).fit(X)
    model.partial_fit(X)
    model.sample(3)
    model.score(X)
    model.log_likelihood(X[:3], 2)
    if not callable(model.views):
        model.save(tmp_path / "model")
        TreeVAEClustering.load(tmp_path / "model", encoder=nn.Linear, decoder=nn.Linear)
    pickle.loads(pickle.dumps(model.set_params(views=None)))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert np.array_equal(X, blobs[0])


# Input


def test_probabilities_of_sparse_input_are_refused(model, digits):
    with pytest.raises(TypeError, match=r"no sparse input.*toarray"):
        model.predict_proba(sparse.csr_array(digits[0]))


# Bad input


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        ("n_clusters", [0, -1, 2.5, "a", True]),
        ("growth", ["kmeans", None, 1]),
        ("image_shape", [8, (8, 7)]),
        ("encoder", ["vit", None, 1]),
        ("decoder", ["vit", None, 1]),
        ("max_depth", [-1, 1.5, "a"]),
        ("split_criterion", ["size", None]),
        ("min_cluster_size", [-0.1, 0.5, "a", np.nan]),
        ("likelihood", ["laplace", None]),
        ("views", ["images", "", 1, ("image",), True]),
        ("contrastive_weight", [-1.0, np.inf, np.nan, "a", None, True]),
        ("temperature", [0.0, -1.0, np.inf, np.nan, "a", None]),
        ("latent_dim", [0, 1.5]),
        ("hidden_dim", [0, 2, "a"]),
        ("max_iter", [0, 2.5, "all"]),
        ("batch_size", [0, None]),
        ("learning_rate", [0.0, -1.0, np.inf, np.nan]),
        ("weight_decay", [-1.0]),
        ("early_stopping", [1, "yes", None]),
        ("validation_fraction", [0.0, 1.0]),
        ("memory", [3, True]),
        ("random_state", [-1, "a", 1.5]),
        ("verbose", [-1, "a"]),
        ("device", [0, 1.5]),
        ("precision", ["float16", None, 32]),
        ("n_jobs", [0, 1.5, "all", True, 2**31, -(10**40)]),
    ],
)
def test_bad_parameters_are_refused_by_name(digits, parameter, values):
    for value in values:
        model = TreeVAEClustering(**{parameter: value})
        for error in (ValueError, TypeError):
            with pytest.raises(
                error, match=f"'{parameter}' parameter.*must be"
            ) as info:
                model.fit(digits[0])
            assert f"Got {value!r} instead" in str(info.value)
    assert set(TreeVAEClustering._allowed) == set(TreeVAEClustering().get_params())


@pytest.mark.parametrize(
    "name",
    ["reconstruct", "score", "log_likelihood", "sample", "diagnose"]
    + ["node_means", "explain", "children_", "distances_", "n_leaves_"],
)
def test_unfitted_use_is_refused(name):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(TreeVAEClustering(), name)(np.zeros((2, 3)))


def test_more_clusters_than_samples_are_refused():
    with pytest.raises(ValueError, match=r"n_samples=3 should be >= n_clusters=8"):
        TreeVAEClustering().fit(np.eye(3))


@pytest.mark.parametrize(
    "growth",
    [
        "guided",
        *(
            pytest.param(x, marks=pytest.mark.nightly)
            for x in ("iterative", "published")
        ),
    ],
)
def test_one_gaussian_is_one_cluster(growth, rng):
    X = rng.standard_normal((300, 4))
    assert TreeVAEClustering(None, growth=growth, **QUICK).fit(X).n_clusters_ == 1


@pytest.mark.parametrize("max_depth", [0, 1, 2])
def test_guided_trees_have_a_largest_depth(digits, max_depth):
    with pytest.warns(ConvergenceWarning, match=f"max_depth={max_depth} has room for"):
        model = TreeVAEClustering(6, max_depth=max_depth, **QUICK).fit(digits[0])
    assert model.n_clusters_ == 2**max_depth
    assert model.dendrogram_.depth.max() == max_depth


@pytest.mark.parametrize("n_clusters", [0, 7, -1, 2.5, "a", True])
def test_impossible_cuts_are_refused(model, digits, n_clusters):
    for call in (
        functools.partial(model.predict, digits[0]),
        functools.partial(model.predict_proba, digits[0]),
        functools.partial(model.sample, 3),
        functools.partial(model.sample, 3, cluster=0),
    ):
        with pytest.raises(ValueError, match="n_clusters must be an int from 1 to 6"):
            call(n_clusters=n_clusters)


# Networks


class Perceptron(nn.Sequential):
    """A user's own network, with a buffer."""

    def __init__(self, n_in, n_out):
        super().__init__(nn.Linear(n_in, 12), nn.Tanh(), nn.Linear(12, n_out))
        self.register_buffer("shift", torch.randn(n_out))

    def forward(self, x):
        return super().forward(x) + self.shift


TINY = {**QUICK, "max_iter": 1, "batch_size": 64}
IMAGES = {
    "cnn": {"image_shape": (16, 16)},
    "resnet": {"image_shape": (3, 16, 16)},
    "user": {"image_shape": (16, 16), "encoder": Perceptron, "decoder": Perceptron},
}


@pytest.fixture(scope="module", params=IMAGES)
def image_model(request):
    """Return a model of images with each kind of networks, and the images."""
    settings = IMAGES[request.param]
    X = make_images(3 if request.param == "resnet" else 1)[0].reshape(90, -1)
    return TreeVAEClustering(3, **TINY, **settings).fit(X), X


def test_images_of_every_kind_are_clustered(image_model):
    model, _ = image_model
    assert adjusted_rand_score(np.arange(90) % 3, model.labels_) == 1.0
    is_own = isinstance(model.module_.encoder, Perceptron)
    assert is_own == (model.encoder is Perceptron)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", IMAGES)
def test_iterative_growth_takes_all_networks(kind):
    images, y = make_images(3 if kind == "resnet" else 1)
    settings = {**TINY, **IMAGES[kind], "growth": "iterative", "max_iter": 20}
    model = TreeVAEClustering(3, **settings).fit(images.reshape(90, -1))
    assert adjusted_rand_score(y, model.labels_) == 1.0


def test_pruned_models_keep_a_users_decoders():
    X = make_images(1)[0].reshape(90, -1)
    X = np.r_[X, 1.0 - X[:3]]
    settings = {**TINY, **IMAGES["user"], "min_cluster_size": 0.1}
    with pytest.warns(ConvergenceWarning, match="min_cluster_size"):
        model = TreeVAEClustering(6, **settings).fit(X)
    assert np.bincount(model.labels_).min() >= 9
    assert np.isfinite(model.score_samples(X)).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("encoder", r"encoder\(64, 128\) .* to \(3, 128\), got \(3, 1\)"),
        ("decoder", r"decoder\(8, 64\) .* to \(3, 64\), got \(3, 1\)"),
    ],
)
def test_networks_that_do_not_fit_are_refused_before_training(
    digits, name, message, monkeypatch
):
    monkeypatch.setattr(TrainingData, "prepare", None)
    with pytest.raises(ValueError, match=message):
        TreeVAEClustering(2, **{name: lambda n, _: nn.Linear(n, 1)}).fit(digits[0])


# Counts


@pytest.fixture(scope="module")
def cells():
    """Counts of 100 genes in four groups, of cells sequenced to different depths."""
    rng = np.random.default_rng(0)
    share = rng.dirichlet(np.ones(100), 4)
    y = np.arange(400) % 4
    depth = rng.lognormal(np.log(1000.0), 0.7, (400, 1))
    return rng.poisson(depth * share[y] * rng.gamma(3.0, 1 / 3, (400, 100))), y


@pytest.fixture(scope="module", params=COUNT_LIKELIHOODS)
def count_model(request, cells):
    settings = {"likelihood": request.param, "max_iter": 15, "random_state": 0}
    return TreeVAEClustering(4, **settings).fit(cells[0][:300])


def test_counts_of_any_depth_are_clustered(count_model, cells):
    X, y = cells
    assert adjusted_rand_score(y, count_model.predict(X)) == 1.0
    assert adjusted_rand_score(y[300:], count_model.predict(5 * X[300:])) == 1.0


def test_samples_of_counts_are_counts(count_model, cells):
    X, labels = count_model.sample(500)
    assert ((X >= 0) & (X == np.floor(X))).all()
    assert X.sum(axis=1).mean() == pytest.approx(cells[0].sum(axis=1).mean(), rel=0.2)
    assert set(labels) == {0, 1, 2, 3}


@pytest.mark.parametrize("likelihood", COUNT_LIKELIHOODS)
def test_huge_counts_and_empty_rows_and_columns_are_fitted(likelihood, cells):
    X = np.pad(cells[0][:200], ((0, 3), (0, 2)))
    X[:, 0] *= 1_000_000 // X[:, 0].max()
    model = TreeVAEClustering(4, likelihood=likelihood, **QUICK).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    assert np.isfinite(model.sample(50)[0]).all()


# Images


def test_images_need_not_be_flattened(digits):
    X = digits[0][:60]
    images = X.reshape(60, 8, 8)
    settings = {**QUICK, "max_iter": 1, "image_shape": (8, 8)}
    model, same = (TreeVAEClustering(2, **settings).fit(x) for x in (X, images))
    assert np.array_equal(model.labels_, same.labels_)
    assert same.n_features_in_ == 64
    for method in METHODS:
        expected = getattr(model, method)(X)
        for x in (images, images[..., None]):
            assert np.array_equal(getattr(same, method)(x), expected)


def test_images_of_another_shape_are_refused():
    model = TreeVAEClustering(2, image_shape=(16, 8, 3))
    with pytest.raises(ValueError, match=r"images of shape \(3, 16, 8\), but image_sh"):
        model.fit(np.zeros((10, 3, 16, 8)))


# Valid, if degenerate


def test_extreme_samples_have_clusters_and_scores():
    X = make_images(1)[0].reshape(90, -1)
    model = TreeVAEClustering(
        3, likelihood="gaussian", image_shape=(16, 16), **TINY
    ).fit(X)
    for value in (1e20, -1e30, 1e200):
        far = np.full((2, 256), value)
        for method in METHODS:
            assert np.isfinite(getattr(model, method)(far)).all(), (method, value)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_constant_data_is_one_cluster(likelihood):
    with pytest.warns(ConvergenceWarning, match=r"clusters found \(1\).*duplicates"):
        model = TreeVAEClustering(4, likelihood=likelihood, **QUICK).fit(
            np.ones((30, 3))
        )
    assert (model.labels_ == 0).all()
    assert np.isfinite(model.score(np.ones((30, 3))))
    assert model.linkage_matrix_.shape == (0, 4)


def test_duplicate_rows_are_one_cluster_each():
    X = np.repeat([[0.0, 0.0], [5.0, 0.0], [0.0, 9.0]], 20, axis=0)
    with pytest.warns(ConvergenceWarning, match=r"clusters found \(3\)"):
        model = TreeVAEClustering(5, random_state=0).fit(X)
    assert adjusted_rand_score(np.repeat([0, 1, 2], 20), model.labels_) == 1.0


@pytest.mark.parametrize("likelihood", ["auto", "bernoulli"])
def test_tiny_values_have_their_clusters(blobs, likelihood):
    X = np.abs(blobs[0]) * 1e-30
    model = TreeVAEClustering(4, likelihood=likelihood, random_state=0).fit(X)
    assert model.n_clusters_ == 4


def test_one_sample_is_one_cluster():
    model = TreeVAEClustering(1, **QUICK).fit([[1.0, 2.0]])
    assert model.labels_.tolist() == [0]
    assert model.predict_proba([[3.0, 4.0]]).tolist() == [[1.0]]
    assert model.children_.shape == (0, 2)


def test_as_many_clusters_as_samples():
    X = np.arange(4.0)[:, None] ** 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = TreeVAEClustering(4, **QUICK).fit(X)
    assert 1 < model.n_clusters_ <= 4
    assert (model.predict(X) == model.labels_).all()


def test_many_duplicates_among_more_rows_than_landmarks(monkeypatch):
    graph = GraphOptions(max_landmarks=300)
    options = GrowthOptions(2, min_cluster_size=0.01, graph=graph)
    monkeypatch.setattr(
        "sktreevae.estimator.clustering.growth_options", lambda _: options
    )
    X = np.zeros((600, 3))
    X[:5] = 1.0
    with pytest.warns(ConvergenceWarning, match="duplicates"):
        model = TreeVAEClustering(2, min_cluster_size=0.01, **QUICK).fit(X)
    assert model.n_clusters_ == 1


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_fits_in_every_mode_of_torch(blobs, mode):
    with mode():
        model = TreeVAEClustering(4, **QUICK).fit(blobs[0])
    assert adjusted_rand_score(blobs[1], model.labels_) == 1.0


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


STAGES = [
    "estimator.clustering.make_growth",
    "estimator.attributes.leaf_statistics",
    "inspection.diagnostics._find_divergence",
]


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupted_refit_changes_nothing(blobs, blob_model, stage, monkeypatch):
    model = blob_model
    before = vars(model).copy()
    monkeypatch.setattr(f"sktreevae.{stage}", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(np.random.default_rng(0).random((50, 5)))
    assert vars(model) == before
    assert np.array_equal(model.predict(blobs[0]), model.labels_)


def test_a_type_set_after_the_fit_does_not_matter(blobs, blob_model):
    X, model = blobs[0], blob_model
    expected = {method: getattr(model, method)(X) for method in METHODS}
    torch.set_default_dtype(torch.float64)
    try:
        for method in METHODS:
            assert np.array_equal(getattr(model, method)(X), expected[method])
        model.sample(3)
        model.log_likelihood(X[:3], 5)
        twin = TreeVAEClustering(4, **QUICK).fit(X)
        assert np.array_equal(twin.transform(X), expected["transform"])
        pickle.loads(pickle.dumps(model)).partial_fit(X)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("message", "n_clusters", "settings"),
    [
        ("did not converge.*learning_rate below 10", 4, {"learning_rate": 10.0}),
        ("hidden_dim=3 is small", 20, {"hidden_dim": 3, "max_iter": 30}),
        (
            "only 4 training.*validation_fraction",
            6,
            {"early_stopping": True, "validation_fraction": 0.98, "hidden_dim": 3},
        ),
    ],
)
def test_likely_causes_are_named(blobs, message, n_clusters, settings):
    with pytest.warns(ConvergenceWarning, match=message):
        TreeVAEClustering(n_clusters, random_state=0, **settings).fit(blobs[0])


@pytest.mark.parametrize(
    ("growth", "n_clusters"), [("guided", None), ("iterative", None), ("published", 1)]
)
def test_one_cluster_trains_in_bfloat16(growth, n_clusters):
    settings = {**QUICK, "growth": growth, "precision": "bfloat16"}
    model = TreeVAEClustering(n_clusters, **settings).fit(np.ones((20, 3)))
    assert model.n_clusters_ == 1


def test_repeated_entries_of_sparse_input_are_summed():
    X = sparse.csr_array(
        (np.full(80, 0.6), np.zeros(80, dtype=int), np.arange(0, 81, 2)), shape=(40, 2)
    )
    with pytest.warns(ConvergenceWarning):
        model = TreeVAEClustering(2, **QUICK).fit(X)
    assert model.likelihood_ == "gaussian"
    assert X.nnz == 80  # not in place


# Attributes


def test_trees_over_clusters_and_samples_are_valid(model):
    assert is_valid_linkage(model.linkage_matrix_)
    n = len(model.labels_)
    reference = AgglomerativeClustering(compute_distances=True).fit(np.eye(n))
    for attribute in ("children_", "distances_", "n_leaves_"):
        ours, theirs = getattr(model, attribute), getattr(reference, attribute)
        assert np.shape(ours) == np.shape(theirs)
    assert sorted(model.children_.ravel()) == list(range(2 * n - 2))
    assert (np.diff(model.distances_) >= 0).all()
    assert (model.distances_ > 0).sum() == model.n_clusters_ - 1


def test_the_number_of_clusters_and_other_choices_are_found():
    X, y = make_blobs(200, 5, centers=4, cluster_std=0.5, random_state=0)
    model = TreeVAEClustering(None, **QUICK).fit(X)
    assert adjusted_rand_score(y, model.labels_) == 1.0
    choices = model.choices_
    assert choices.pop("partition")
    assert choices.pop("cost") < 0
    expected = {"features": "plain", "n_features": 5, "n_clusters": 4, "n_neighbors": 8}
    assert choices == expected


def test_images_are_clustered_by_their_gradients():
    X, y = load_digits(return_X_y=True)
    model = TreeVAEClustering(10, image_shape=(8, 8), **QUICK).fit(X)
    assert model.choices_["features"] == "image"
    assert dendrogram_purity(y, model) > 0.78  # Ward: 0.77


def make_text(rng, y):
    share = rng.dirichlet(np.full(2000, 0.02), 3)
    return sparse.csr_array([rng.multinomial(30, share[k]) for k in y], dtype=float)


def make_embeddings(rng, y):
    X = rng.standard_normal((300, 100)) + 4 * np.eye(3, 100)[y]
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize(
    ("make", "kind", "features"),
    [(make_text, "text", "text"), (make_embeddings, "embeddings", "directions")],
)
def test_text_and_embeddings_are_clustered_by_their_features(rng, make, kind, features):
    y = np.arange(300) % 3
    model = TreeVAEClustering(3, **QUICK).fit(make(rng, y))
    assert model.kind_ == kind
    assert model.choices_["features"] == features
    assert adjusted_rand_score(y, model.labels_) > 0.9


def test_heights_and_weights_describe_the_clusters(model, digits):
    tree = model.dendrogram_
    assert tree.weight[0] == pytest.approx(1.0)
    counts = np.bincount(model.labels_)
    assert (tree.n_node_samples[tree.leaves] == counts).all()
    share = model.predict_proba(digits[0]).mean(axis=0)
    np.testing.assert_allclose(tree.weight[tree.leaves], share, atol=1e-6)


def test_history_has_every_term_of_every_epoch(model):
    history = model.history_
    assert {len(values) for values in history.values()} == {model.n_iter_}
    total = (
        np.array(history["reconstruction"])
        - history["kl_root"]
        - history["kl_nodes"]
        - history["kl_decisions"]
    )
    np.testing.assert_allclose(history["elbo"], total)
    assert min(history["learning_rate"]) >= 0


def test_lower_bound_is_near_the_score_of_the_training_data(model, digits):
    # Variances are set to their optimum after the last epoch.
    score = model.score(digits[0])
    assert model.lower_bound_ == pytest.approx(score, rel=0.1)


def test_early_stopping_watches_held_out_samples(digits):
    settings = {**QUICK, "max_iter": 200, "learning_rate": 5e-2}
    model = TreeVAEClustering(1, early_stopping=True, **settings).fit(digits[0][:100])
    validation = model.history_["validation_elbo"]
    assert np.isfinite(validation).all()
    assert 100 <= model.n_iter_ < 200


# Density and generation


def test_likelihood_is_a_density_in_the_units_of_the_user(rng):
    X = 500.0 + 20.0 * np.r_[rng.normal(-3, 1, 150), rng.normal(3, 1, 150)][:, None]
    model = TreeVAEClustering(2, random_state=0).fit(X)
    grid = np.linspace(300.0, 700.0, 256)
    density = np.exp(model.log_likelihood(grid[:, None], n_importance_samples=100))
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, X: m.log_likelihood(X, 0), "n_importance_samples must be an int in"),
        (lambda m, X: m.sample(2.5), "n_samples must be an int .* got 2.5"),
        (lambda m, X: m.sample(3, cluster=-1), "cluster must be .* 0 to 5, got -1"),
        (lambda m, X: m.sample(3, cluster=6), "cluster must be .* 0 to 5, got 6"),
        (lambda m, X: m.sample(3, cluster=True), "cluster must be .* 5, got True"),
    ],
)
def test_impossible_draws_are_refused(model, digits, call, message):
    with pytest.raises(ValueError, match=message):
        call(model, digits[0])


@pytest.mark.parametrize("n_clusters", [1, 2, 4, 6])
def test_samples_are_labelled_by_the_cut(model, n_clusters):
    X, leaves = model.sample(300)
    same, labels = model.sample(300, n_clusters=n_clusters)
    assert X.shape == (300, 64)
    assert np.array_equal(same, X)
    assert np.array_equal(labels, model.dendrogram_.cut(n_clusters)[leaves])


@pytest.mark.parametrize("n_clusters", [2, 4])
def test_samples_fall_into_their_cluster(default_blobs, n_clusters):
    for cluster in range(n_clusters):
        X, drawn = default_blobs.sample(200, cluster=cluster, n_clusters=n_clusters)
        assert (drawn == cluster).all()
        labels = default_blobs.predict(X, n_clusters=n_clusters)
        assert (labels == cluster).mean() > 0.8


def test_reconstructions_are_nearer_than_the_mean(model, digits):
    X = digits[0]
    error = np.square(model.reconstruct(X) - X).sum()
    assert error < 0.8 * np.square(X - X.mean(axis=0)).sum()


# The package


def test_import_is_light():
    code = (
        "import sys, sktreevae.display\n"
        "heavy = {'dask', 'matplotlib', 'networkx'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def gaussian_score(blobs):
    settings = {"likelihood": "gaussian", **QUICK, "max_iter": 15}
    return TreeVAEClustering(4, **settings).fit(blobs[0]).score(blobs[0])


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_units_do_not_matter(blobs, gaussian_score, factor):
    X, y = blobs
    settings = {"likelihood": "gaussian", **QUICK, "max_iter": 15}
    model = TreeVAEClustering(4, **settings).fit(X * factor)
    assert adjusted_rand_score(y, model.labels_) == 1.0
    assert np.isfinite(model.sample(5)[0]).all()
    shift = model.score(X * factor) - gaussian_score
    assert shift == pytest.approx(-2 * np.log(factor), abs=0.1)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        # What else is refused, scikit-learn's checks prove.
        ([[0.0, np.nan], [1.0, 2.0]], "contains NaN"),
        (np.zeros((2, 2, 2)), "dim 3"),
        ([["a", "b"], ["c", "d"]], "could not convert|Unable to convert"),
        ([[1e200, 0.0], [-1e200, 1.0]], "too large"),
    ],
)
def test_bad_data_is_refused_before_training(X, message, monkeypatch):
    monkeypatch.setattr("sktreevae.data.training_data.choose_kind", None)
    with pytest.raises((ValueError, TypeError), match=message):
        TreeVAEClustering(n_clusters=2).fit(X)
