import copy
import functools
import operator
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_digits, load_iris
from torch import nn

from sktreevae import ImageAugmentation, TreeVAEClustering
from sktreevae.model import Topology, state_shapes

from .archives import forging

TINY = {"hidden_dim": 8, "latent_dim": 2, "max_iter": 2, "random_state": 0}
METHODS = ["predict", "predict_proba", "transform", "score_samples", "reconstruct"]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def small_encoder(n_features, hidden_dim):
    return nn.Sequential(nn.Linear(n_features, 5), nn.Tanh(), nn.Linear(5, hidden_dim))


def shaken(rows, generator):
    noise = torch.randn(rows.shape, generator=generator, device=rows.device)
    return rows + 0.1 * noise


def iris():
    return load_iris().data


def mixed():
    rng = np.random.default_rng(0)
    binary = rng.integers(0, 2, 150)
    one_hot = np.eye(3)[rng.integers(0, 3, 150)]
    return np.column_stack([iris(), binary, np.full(150, 7.0), one_hot])


def digits():
    return load_digits().data[:60] / 16


CASES = {
    "guided": ({}, iris),
    "iterative": ({"growth": "iterative"}, iris),
    "estimated": ({"n_clusters": None, "early_stopping": True}, iris),
    "names": ({}, lambda: load_iris(as_frame=True).data),
    "images": (
        {
            "image_shape": (8, 8),
            "encoder": "resnet",
            "views": ImageAugmentation((8, 8), low=0.0, high=1.0),
        },
        digits,
    ),
    "mixed": ({}, mixed),
    "counts": ({"likelihood": "negative_binomial"}, lambda: np.round(10 * iris())),
    "text": ({}, lambda: sparse.csr_matrix(digits() * (digits() > 0.9))),
    "neighbors": ({"views": "neighbors", "device": torch.device("cpu")}, iris),
    "random state": ({"random_state": np.random.RandomState(3)}, iris),
    "functions": (
        {"encoder": small_encoder, "decoder": nn.Linear, "views": shaken},
        iris,
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """Return a fitted model and its data. Tests don't change the model."""
    parameters, make = CASES[request.param]
    X = make()
    return TreeVAEClustering(**{"n_clusters": 3, **TINY, **parameters}).fit(X), X


@pytest.fixture(scope="module")
def model():
    return TreeVAEClustering(3, **TINY).fit(iris())


@pytest.fixture(scope="module")
def custom():
    networks = {"encoder": small_encoder, "decoder": nn.Linear}
    return TreeVAEClustering(3, **TINY, **networks).fit(iris())


@pytest.fixture
def path(tmp_path, model):
    model.save(tmp_path / "model")
    return tmp_path / "model"


def reload(model, tmp_path, **parameters):
    model.save(tmp_path / "twin")
    return TreeVAEClustering.load(tmp_path / "twin", **parameters)


def objects_of(model):
    """Return the parameters that a file can't have."""
    parameters = model.get_params()
    kinds = (str, int, float, tuple, type(None), torch.device)
    return {k: v for k, v in parameters.items() if not isinstance(v, kinds)}


def assert_same_results(twin, model, X):
    for method in METHODS:
        if method == "predict_proba" and sparse.issparse(X):
            continue
        ours, theirs = getattr(twin, method)(X), getattr(model, method)(X)
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    rows = X[:3] if sparse.issparse(X) else np.asarray(X)[:3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows without names
        ours, theirs = (m.log_likelihood(rows, 5) for m in (twin, model))
    assert np.array_equal(ours, theirs)


def assert_same_attributes(twin, model):
    """Check that all attributes have the same types and values."""
    assert vars(twin).keys() == vars(model).keys()
    for name, value in vars(model).items():
        if name == "device":
            continue
        twin_value = getattr(twin, name)
        assert type(twin_value) is type(value), name
        if name not in ("module_", "dendrogram_", "_standardizer", "random_state"):
            np.testing.assert_equal(twin_value, value)
    for name in ("dendrogram_", "_standardizer"):
        ours, theirs = vars(getattr(twin, name)), vars(getattr(model, name))
        for key in theirs:
            np.testing.assert_array_equal(ours[key], theirs[key])


# Files


def test_models_come_back(case, tmp_path):
    model, X = case
    twin = reload(model, tmp_path, **objects_of(model))
    assert_same_attributes(twin, model)
    assert_same_results(twin, model, X)
    twin.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "twin").read_bytes()
    copies = copy.deepcopy(twin), copy.deepcopy(model)
    samples = [copied.sample(9) for copied in copies]
    np.testing.assert_equal(*samples)
    for copied in copies:
        copied.partial_fit(X[:40])
    assert_same_attributes(*copies)
    assert_same_results(*copies, X)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_models_loaded_without_gradients_can_be_trained(path, model, context):
    with context():
        twins = TreeVAEClustering.load(path), copy.deepcopy(model)
    for twin in twins:
        twin.partial_fit(iris())
    assert_same_attributes(*twins)


def test_caches_are_not_saved(model, tmp_path):
    model = copy.deepcopy(model).set_params(memory=joblib.Memory(tmp_path / "cache"))
    assert reload(model, tmp_path).memory is None
    assert b"cache" not in (tmp_path / "twin").read_bytes()


def test_classes_are_told_apart(path):
    class Other(TreeVAEClustering):
        pass

    with pytest.raises(ValueError, match="of the class TreeVAEClustering, not Other"):
        Other.load(path)


# Parameters


def test_parameters_can_be_replaced(path):
    assert TreeVAEClustering.load(path).device is None
    twin = TreeVAEClustering.load(path, device="cpu", n_jobs=2)
    assert (twin.device, twin.device_, twin.n_jobs) == ("cpu", torch.device("cpu"), 2)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"device": "cuda:99"}, "'device' parameter .* got 'cuda:99'"),
        ({"latent_dim": 0}, "'latent_dim' parameter .* Got 0"),
        ({"trusted": "os:remove"}, "Invalid parameter 'trusted'"),
    ],
)
def test_invalid_parameters_are_refused(path, parameters, match):
    with pytest.raises(ValueError, match=match):
        TreeVAEClustering.load(path, **parameters)


def test_invalid_parameters_are_not_saved(path, model):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="'latent_dim' parameter .* Got 0"):
        copy.deepcopy(model).set_params(latent_dim=0).save(path)
    assert path.read_bytes() == before


def unpickle(model, folder):
    twin = TreeVAEClustering()
    twin.__setstate__(model.__getstate__())
    return twin


@pytest.mark.parametrize("copied", [reload, unpickle])
def test_models_of_a_missing_device_open_on_the_cpu(model, tmp_path, copied):
    model = copy.deepcopy(model)
    model.device = "cuda:99"
    with pytest.warns(UserWarning, match="The model is on the CPU") as caught:
        twin = copied(model, tmp_path)
    assert caught[0].filename == __file__
    assert_same_results(twin, model, iris())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_results_are_the_same_across_devices(tmp_path):
    model = TreeVAEClustering(3, device="cuda", **TINY).fit(iris())
    twin = reload(model, tmp_path, device="cpu")
    back = reload(twin, tmp_path, device="cuda")
    assert_same_results(back, model, iris())
    assert np.array_equal(twin.predict(iris()), model.labels_)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"views": lambda x, generator: x}, r"views \(.*<lambda>\). .*, views=...\)"),
        (
            {"views": ImageAugmentation((2, 2), 0.0, 1.0)},
            r"views \(.*ImageAugmentation\)",
        ),
        ({"random_state": np.random.RandomState(0)}, r"random_state \(.*RandomState\)"),
    ],
)
def test_objects_must_be_passed(custom, tmp_path, parameters, match):
    model = copy.deepcopy(custom).set_params(**parameters)
    networks = {"encoder": small_encoder, "decoder": nn.Linear}
    with pytest.raises(ValueError, match=f"that a file can't have: {match}"):
        reload(model, tmp_path, **networks)
    assert_same_results(
        reload(model, tmp_path, **networks, **parameters), model, iris()
    )


def test_networks_must_be_passed_whatever_the_parameters_are_now(custom, tmp_path):
    model = copy.deepcopy(custom).set_params(encoder="auto")
    match = r"decoder \(torch.nn.modules.linear.Linear\), encoder \(.*.small_encoder\)"
    with pytest.raises(ValueError, match=match):
        reload(model, tmp_path)
    twin = reload(model, tmp_path, encoder=small_encoder, decoder=nn.Linear)
    assert_same_results(twin, model, iris())


def test_networks_must_fit_the_file(custom, tmp_path):
    with pytest.raises(ValueError, match="networks don't fit the saved model"):
        reload(custom, tmp_path, encoder=nn.Linear, decoder=nn.Linear)
    match = r"can't have: encoder \(a callable that builds networks\). Pass them"
    with pytest.raises(ValueError, match=match):
        reload(custom, tmp_path, encoder="mlp", decoder=nn.Linear)


# Damaged and foreign files


def refuse(path, match):
    with pytest.raises(ValueError, match=match) as caught:
        TreeVAEClustering.load(path)
    assert str(path) in str(caught.value)


def test_unknown_parameters_are_refused(path):
    with forging(path) as (content, _):
        content["parameters"]["new"] = 1
        content["package_version"] = "9.0"
    match = r"no parameters \['new'\]. The model was saved by sktreevae 9.0"
    refuse(path, match)


def test_missing_parameters_have_their_defaults(path):
    with forging(path) as (content, _):
        del content["parameters"]["temperature"]
    assert TreeVAEClustering.load(path).temperature == 0.5


def entry(content, keys):
    """Return the object that has an entry, and the last of its keys."""
    *outer, last = keys.split(".")
    return functools.reduce(operator.getitem, outer, content), last


CONTRADICTIONS = {
    "state.config.hidden_dim": [10**12, 8.0],
    "state.config.latent_dim": [10**30, True],
    "state.config.n_features": [10**12, 3],
    "state.config.perceptron_depth": [10**12, 40],
    "state.config.bottom_up_depth": [10**12],
    "state.config.router_dims": [[10**9, 10**9], [1] * 10**5],
    "state.config.discrete": [[[0]], [["0"]]],
    "state.config.image_shape": [[10**9, 10**9], [4]],
    "state.config.likelihood": ["bernoulli"],
    "state.config.other": [1],
    "state.feature_map.n_outputs": [10**12],
    "state.feature_map.n_features": [5],
    "state.feature_map.image_shape": [[8, 8]],
    "state.feature_map.kind": ["eval"],
    "state.topology": [[], [-1, 0, 0], [-1, 0, 0, 0, 0], [-1, 0, 0, 1.0, 1.0]],
    "state.n_samples_seen_": [-1, 149],
    "state._seed": [-1, 10**40],
    "state.choices_": [[]],
    "state.lower_bound_": [float("nan"), "0"],
    "state.feature_names_in_": [["a", "b"], [1, 2, 3, 4]],
    "state._findings": [
        [{"name": "x"}],
        [{"unknown": 1}],
        [{"name": 1, "problem": "", "remedy": ""}],
        [{"name": "", "problem": "", "remedy": "", "nodes": [5]}],
    ],
    "state.history_.phase": [["joint"], [1, 2]],
    "state.history_.elbo": [[0.0], ["a", "b"]],
    "state.history_.epoch": [[]],
    "state.history_.new": [None],
    "state.history_": [{}],
    "state.predict": [1],
    "parameters.max_iter": [0],
    "parameters.n_jobs": [10**40],
    "parameters.random_state": [{"key": []}],
    "parameters": [3],
    "objects": [None],
    "objects.new": ["a.b"],
    "state": [None],
    "package_version": [None],
    "other": [1],
}


@pytest.mark.parametrize(
    ("keys", "value"),
    [(keys, value) for keys, values in CONTRADICTIONS.items() for value in values],
    ids=lambda value: repr(value)[:40],
)
def test_content_that_contradicts_the_file_is_refused(path, keys, value):
    with forging(path) as (content, _):
        outer, last = entry(content, keys)
        outer[last] = value
    refuse(path, "has invalid content")


@pytest.mark.parametrize("keys", ["class", "state._seed", "state.config.encoder"])
def test_missing_content_is_refused(path, keys):
    with forging(path) as (content, _):
        outer, last = entry(content, keys)
        del outer[last]
    refuse(path, "has invalid content: .* must have the entries")


def set_to(index, value):
    def change(array):
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("dendrogram.height", lambda x: x[:3], r"of shape \(5,\)"),
        ("dendrogram.height", set_to(1, np.nan), "must be finite"),
        ("dendrogram.height", set_to(1, 1e9), "below the heights of its children"),
        ("dendrogram.weight", set_to(0, 0.0), "positive for the root"),
        ("dendrogram.weight", set_to(1, -1.0), "non-negative"),
        ("dendrogram.p_values", set_to(0, np.inf), "must be finite or NaN"),
        ("dendrogram.labels", lambda x: x[:0], "the number of samples"),
        ("dendrogram.labels", lambda x: x[0], r"of shape \(1,\), got .* \(\)"),
        ("dendrogram.labels", lambda x: x[None], r"got int64 of shape \(1, 150\)"),
        ("dendrogram.labels", lambda x: x.astype(float), "must be int64"),
        ("dendrogram.labels", set_to(0, 3), "labels must lie between 0 and 2"),
        ("standardizer.scale", set_to(0, 0.0), "must be finite and positive, got 0.0"),
        ("standardizer.scale", set_to(0, np.nan), "must be finite and positive"),
        ("standardizer.center", set_to(0, np.inf), "must be finite, got inf"),
        ("standardizer.low", lambda x: x + 1e6, "bounds of values"),
        ("standardizer.high", set_to(0, np.nan), "must be finite"),
        ("standardizer.constant", set_to(0, np.inf), "must be finite or NaN"),
        ("standardizer.constant", set_to(0, 1.0), "the number of features"),
        ("model.bottom_up.scale", np.zeros_like, "must be finite and positive"),
        ("model.root_head.weight", set_to((0, 0), np.nan), "must be finite, got nan"),
        ("model.root_head.weight", lambda x: x.T, r"must be .* of shape \(4, 12\)"),
        ("model.root_head.weight", lambda x: np.empty((10**12, 0)), "must be float32"),
        ("model.root_head.weight", lambda x: x.astype(float), "must be float32"),
        ("model.top_down.heads.biases.0", lambda x: x[:2], r"of shape \(4, 1, 4\)"),
    ],
)
def test_arrays_that_contradict_the_file_are_refused(path, name, change, match):
    with forging(path) as (_, arrays):
        arrays[name] = change(arrays[name])
    refuse(path, f"has invalid content: .*{match}")


@pytest.mark.parametrize(
    "name", ["dendrogram.labels", "model.root_head.weight", "standardizer.low"]
)
def test_other_names_of_arrays_are_refused(path, name):
    with forging(path) as (_, arrays):
        arrays["other"] = arrays.pop(name)
    refuse(path, r"The arrays \['other'\] aren't known")
    with forging(path) as (_, arrays):
        del arrays["other"]
    refuse(path, rf"The arrays \['{name}'\] are missing")


N_MANY = 16_000
SHAPES = {
    "chain": [-1] + [i // 2 * 2 for i in range(2 * N_MANY)],
    "balanced": [-1] + [i // 2 for i in range(2 * N_MANY)],
}


@pytest.mark.parametrize("name", ["memory", "checkpoint_dir"])
def test_a_folder_in_a_file_is_refused(path, name, tmp_path):
    with forging(path) as (content, _):
        content["parameters"][name] = str(tmp_path / "folder")
    refuse(path, f"has no parameters .'{name}'.")


LOAD = """
import resource
import sys
from sktreevae import TreeVAEClustering

def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

good, *forged = sys.argv[1:]
TreeVAEClustering.load(good)
before = memory()
for path in forged:
    try:
        TreeVAEClustering.load(path)
    except ValueError:
        print(memory() - before)
"""


def forge_many_nodes(path, parent, has_arrays):
    """Claim a tree of many nodes in the topology, or in all parts of a file."""
    with forging(path) as (content, arrays):
        state = content["state"]
        state["topology"] = parent
        if has_arrays:
            for name in ("height", "weight", "p_values", "excess_costs"):
                arrays[f"dendrogram.{name}"] = np.ones(len(parent))
            topology = Topology(tuple(parent))
            shapes = state_shapes(topology, state["config"], state["feature_map"])
            for name, array in shapes.items():
                arrays[f"model.{name}"] = np.ones(array.shape, dtype=np.float32)


@pytest.mark.nightly
def test_claims_of_many_nodes_are_refused_without_their_memory(path, tmp_path):
    forged = []
    for name, parent in SHAPES.items():
        for has_arrays in (False, True):
            forged.append(tmp_path / f"{name} {has_arrays}")
            forged[-1].write_bytes(path.read_bytes())
            forge_many_nodes(forged[-1], parent, has_arrays)
    command = [sys.executable, "-c", LOAD, path, *forged]
    increases = list(map(float, subprocess.check_output(command).split()))
    assert len(increases) == len(forged)
    assert max(increases) < 200  # MiB


# Pickles


@pytest.mark.parametrize("case", ["names", "images", "functions"], indirect=True)
def test_pickles_come_back(case):
    model, X = case
    twin = pickle.loads(pickle.dumps(model))
    assert_same_attributes(twin, model)
    assert_same_results(twin, model, X)


@pytest.mark.parametrize("name", ["copy", "joblib", "compressed", "mapped"])
def test_other_copies_come_back(model, tmp_path, name):
    path = tmp_path / "model.joblib"
    if name == "copy":
        twin = copy.deepcopy(model)
    else:
        joblib.dump(model, path, compress=3 if name == "compressed" else 0)
        twin = joblib.load(path, mmap_mode="r" if name == "mapped" else None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same_results(twin, model, iris())
    assert_same_attributes(twin, model)
    assert_same_attributes(
        twin.partial_fit(iris()), copy.deepcopy(model).partial_fit(iris())
    )


def test_skops_trusts_all_but_the_estimator(model):
    skops = pytest.importorskip("skops.io")
    data = skops.dumps(model)
    unknown = skops.get_untrusted_types(data=data)
    assert unknown == ["sktreevae.estimator.clustering.TreeVAEClustering"]
    assert_same_results(skops.loads(data, trusted=unknown), model, iris())


def test_pickles_hold_no_tensors_and_no_training_data(model):
    state = model.__getstate__()
    arrays = state["arrays"]
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    assert "device_" not in state
    n_values = sum(array.size for array in arrays.values())
    assert len(pickle.dumps(model)) < 4 * n_values + 20_000


@pytest.mark.parametrize("version", [None, 2])
def test_pickles_of_unknown_versions_are_refused(model, version):
    state = model.__getstate__()
    state["format_version"] = version
    with pytest.raises(ValueError, match=f"format version {version}, .* version 1"):
        TreeVAEClustering().__setstate__(state)


def test_results_are_the_same_in_a_new_process(path, model, tmp_path):
    code = (
        "import sys, numpy\n"
        "from sklearn.datasets import load_iris\n"
        "from sktreevae import TreeVAEClustering\n"
        "model = TreeVAEClustering.load(sys.argv[1])\n"
        f"results = {{m: getattr(model, m)(load_iris().data) for m in {METHODS}}}\n"
        "numpy.savez(sys.argv[2], sample=model.sample(9)[0], **results)\n"
    )
    results = tmp_path / "results.npz"
    subprocess.run([sys.executable, "-c", code, path, results], check=True)
    with np.load(results) as archive:
        for method in METHODS:
            assert np.array_equal(archive[method], getattr(model, method)(iris()))
        assert np.array_equal(archive["sample"], model.sample(9)[0])
