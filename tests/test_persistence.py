import copy
import io
import json
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from torch import nn

from sktreevae import ImageAugmentation, TreeVAEClustering

from .archives import seal, seal_header, split

DATA = Path(__file__).parent / "data"
TINY = {"hidden_dim": 8, "latent_dim": 2, "max_iter": 2, "random_state": 0}
METHODS = ["predict", "predict_proba", "transform", "score_samples", "reconstruct"]
LINEAR = "torch.nn.modules.linear:Linear"

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def small_encoder(n_features, hidden_dim):
    return nn.Sequential(nn.Linear(n_features, 5), nn.Tanh(), nn.Linear(5, hidden_dim))


def shaken(rows, generator):
    noise = torch.randn(rows.shape, generator=generator, device=rows.device)
    return rows + 0.1 * noise


def iris():
    return load_iris().data


def digits():
    return load_digits().data[:60] / 16


CASES = {
    "guided": ({}, iris),
    "iterative": ({"growth": "iterative"}, iris),
    "published": ({"growth": "published"}, iris),
    "estimated": ({"n_clusters": None, "early_stopping": True}, iris),
    "float32": ({}, lambda: iris().astype(np.float32)),
    "names": ({}, lambda: load_iris(as_frame=True).data),
    "images": (
        {
            "image_shape": [8, 8],
            "encoder": "resnet",
            "views": ImageAugmentation((8, 8), low=0.0, high=1.0),
        },
        digits,
    ),
    "counts": ({"likelihood": "negative_binomial"}, lambda: np.round(10 * iris())),
    "text": ({}, lambda: sparse.csr_matrix(digits() * (digits() > 0.9))),
    "neighbors": ({"views": "neighbors", "device": torch.device("cpu")}, iris),
    "random state": ({"random_state": np.random.RandomState(3)}, iris),
    "functions": (
        {"encoder": small_encoder, "decoder": nn.Linear, "views": shaken},
        iris,
    ),
}
FUNCTIONS = [f"{__name__}:small_encoder", f"{__name__}:shaken", LINEAR]


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


def reload(model, tmp_path, **arguments):
    model.save(tmp_path / "twin")
    return TreeVAEClustering.load(tmp_path / "twin", **arguments)


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


def assert_same_samples(twin, model):
    for ours, theirs in zip(twin.sample(9), model.sample(9), strict=True):
        assert np.array_equal(ours, theirs)


def assert_same_attributes(twin, model):
    """Check that all attributes have the same types and values."""
    assert vars(twin).keys() == vars(model).keys()
    for name, value in vars(model).items():
        twin_value = getattr(twin, name)
        assert type(twin_value) is type(value), name
        if name not in ("module_", "dendrogram_", "_standardizer", "random_state"):
            np.testing.assert_equal(twin_value, value)
    for name in ("dendrogram_", "_standardizer"):
        ours, theirs = vars(getattr(twin, name)), vars(getattr(model, name))
        for key in theirs.keys() - {"_sample_linkage"}:
            assert type(ours[key]) is type(theirs[key])
            assert np.array_equal(ours[key], theirs[key], equal_nan=True)


# Files


def test_models_come_back(case, tmp_path):
    model, X = case
    twin = reload(model, tmp_path, trusted=FUNCTIONS)
    assert_same_attributes(twin, model)
    assert_same_results(twin, model, X)
    copies = copy.deepcopy(twin), copy.deepcopy(model)
    assert_same_samples(*copies)
    for copied in copies:
        copied.partial_fit(X[:40])
    assert_same_attributes(*copies)
    assert_same_results(*copies, X)


def test_models_come_back_after_partial_fit(model, tmp_path):
    model = copy.deepcopy(model).partial_fit(iris()[:60])
    twin = reload(model, tmp_path)
    assert_same_attributes(twin, model)
    assert_same_results(twin, model, iris())


def test_trees_come_back(model, tmp_path):
    tree, twin = model.dendrogram_, reload(model, tmp_path).dendrogram_
    assert twin.export_text() == tree.export_text()
    assert twin.to_newick() == tree.to_newick()
    assert np.array_equal(twin.levels(), tree.levels())
    assert np.array_equal(twin.to_linkage("samples"), tree.to_linkage("samples"))


def test_refits_are_the_same(custom, tmp_path):
    twin = reload(custom, tmp_path, trusted=FUNCTIONS)
    assert_same_attributes(twin.fit(iris()), custom)


@pytest.mark.parametrize("case", ["names", "images", "functions"], indirect=True)
def test_a_file_and_its_model_give_the_same_file(case, tmp_path):
    model, _ = case
    twin = reload(model, tmp_path, trusted=FUNCTIONS)
    before = (tmp_path / "twin").read_bytes()
    twin.save(tmp_path / "twin")
    assert (tmp_path / "twin").read_bytes() == before


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
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", code, path, results], check=True, cwd=root)
    with np.load(results) as archive:
        for method in METHODS:
            assert np.array_equal(archive[method], getattr(model, method)(iris()))
        assert np.array_equal(archive["sample"], model.sample(9)[0])


@pytest.mark.parametrize("kind", [str, Path])
def test_names_of_files_stay_as_they_are(model, tmp_path, kind):
    path = kind(tmp_path / "model.of.mine")
    assert model.save(path) is None
    assert [file.name for file in tmp_path.iterdir()] == ["model.of.mine"]
    TreeVAEClustering.load(path)


def test_a_file_is_replaced(path, model):
    clone(model).set_params(n_clusters=2).fit(iris()).save(path)
    assert TreeVAEClustering.load(path).n_clusters_ == 2
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_stays_if_saving_fails(path, model):
    before = path.read_bytes()
    broken = copy.deepcopy(model).set_params(encoder=lambda n_in, n_out: None)
    with pytest.raises(ValueError, match="'encoder' parameter can't be saved"):
        broken.save(path)
    assert path.read_bytes() == before


def test_files_hold_no_training_data(model, tmp_path):
    X = iris()
    many = clone(model).fit(np.concatenate([X, X + 0.01]))
    sizes = []
    for fitted in (model, many):
        fitted.save(tmp_path / "model")
        sizes.append((tmp_path / "model").stat().st_size)
    assert sizes[1] - sizes[0] < 8 * len(X) + 500  # labels_


def test_the_global_random_state_is_left_alone(custom, tmp_path):
    before = torch.get_rng_state()
    reload(custom, tmp_path, trusted=FUNCTIONS)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_default_type_does_not_matter(custom, tmp_path):
    torch.set_default_dtype(torch.float64)
    try:
        twin = reload(custom, tmp_path, trusted=FUNCTIONS)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_same_results(twin, custom, iris())


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_models_loaded_without_gradients_can_be_trained(path, model, context):
    with context():
        twins = TreeVAEClustering.load(path), copy.deepcopy(model)
    for twin in twins:
        twin.partial_fit(iris())
    assert_same_attributes(*twins)


def test_unfitted_estimators_are_refused(tmp_path):
    with pytest.raises(NotFittedError):
        TreeVAEClustering().save(tmp_path / "model")


def test_invalid_parameters_are_refused(model, tmp_path):
    broken = copy.deepcopy(model).set_params(latent_dim=0)
    with pytest.raises(ValueError, match="'latent_dim' parameter .* Got 0"):
        broken.save(tmp_path / "model")


@pytest.mark.parametrize("make", [str, Path, joblib.Memory])
def test_caches_are_not_saved(model, tmp_path, make):
    model = copy.deepcopy(model).set_params(memory=make(tmp_path / "cache"))
    assert reload(model, tmp_path).memory is None
    assert b"cache" not in (tmp_path / "twin").read_bytes()


def test_classes_are_told_apart(path):
    class Other(TreeVAEClustering):
        pass

    with pytest.raises(ValueError, match="of the class TreeVAEClustering, not Other"):
        Other.load(path)


# Devices


def test_the_device_is_a_parameter(path):
    assert TreeVAEClustering.load(path).device is None
    twin = TreeVAEClustering.load(path, device="cpu")
    assert (twin.device, twin.device_) == ("cpu", torch.device("cpu"))


def test_unknown_devices_are_refused(path):
    with pytest.raises(ValueError, match="'device' parameter .* got 'cuda:99'"):
        TreeVAEClustering.load(path, device="cuda:99")


def test_files_of_a_missing_device_open_on_the_cpu(model, tmp_path):
    model = copy.deepcopy(model)
    model.device = "cuda:99"
    with pytest.warns(UserWarning, match="The model is on the CPU") as caught:
        twin = reload(model, tmp_path)
    assert caught[0].filename == __file__
    assert_same_results(twin, model, iris())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_results_are_the_same_across_devices(tmp_path):
    model = TreeVAEClustering(3, device="cuda", **TINY).fit(iris())
    twin = reload(model, tmp_path, device="cpu")
    back = reload(twin, tmp_path, device="cuda")
    assert_same_results(back, model, iris())
    assert np.array_equal(twin.predict(iris()), model.labels_)


# Functions of the user


def test_functions_can_be_passed(custom, tmp_path):
    functions = {"encoder": small_encoder, "decoder": nn.Linear}
    twin = reload(custom, tmp_path, **functions)
    assert twin.encoder is small_encoder
    assert_same_results(twin, custom, iris())


def test_functions_are_not_imported(custom, tmp_path):
    match = f"encoder {FUNCTIONS[0]}; decoder {re.escape(LINEAR)}"
    with pytest.raises(ValueError, match=match):
        reload(custom, tmp_path)


def test_functions_of_the_model_outlast_those_of_the_parameters(custom, tmp_path):
    model = copy.deepcopy(custom).set_params(encoder="auto")
    with pytest.raises(ValueError, match=FUNCTIONS[0]):
        reload(model, tmp_path, trusted=LINEAR)
    twin = reload(model, tmp_path, trusted=FUNCTIONS)
    assert twin.encoder == "auto"
    assert_same_results(twin, model, iris())


def test_networks_must_fit_the_file(custom, tmp_path):
    with pytest.raises(ValueError, match="networks don't fit the saved model"):
        reload(custom, tmp_path, encoder=nn.Linear, decoder=nn.Linear)


def test_functions_that_are_not_needed_are_refused(path):
    with pytest.raises(ValueError, match="views was passed, but"):
        TreeVAEClustering.load(path, views=shaken)


def test_local_functions_are_refused(tmp_path, model):
    def shake(rows, generator):
        return rows

    with pytest.raises(ValueError, match="'views' .* at the top level of a module"):
        copy.deepcopy(model).set_params(views=shake).save(tmp_path / "model")


# Damaged and foreign files


def refuse(path, data, match):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=match) as caught:
        TreeVAEClustering.load(path)
    assert str(path) in str(caught.value)


def test_truncated_files_are_refused(path, rng):
    data = path.read_bytes()
    for size in rng.integers(len(data), size=200):
        refuse(path, data[:size], "is truncated|, truncated or not a model")


def test_changed_bytes_are_refused(path, rng):
    data = path.read_bytes()
    for position in rng.integers(len(data), size=200):
        changed = bytearray(data)
        changed[position] ^= int(rng.integers(1, 256))
        refuse(path, changed, "is truncated|is damaged|isn't a model")


def npz():
    stream = io.BytesIO()
    np.savez(stream, weights=np.zeros(10))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "is empty, truncated or not a model: it has 0 bytes"),
        (b"PK", "not a model: it has 2 bytes"),
        (npz(), "isn't a model that `save` has written"),
        (pickle.dumps(list(range(100))), "isn't a model"),
        (b"Once upon a time there was a tree of four leaves. " * 9, "isn't a model"),
        (bytes(1000), "isn't a model"),
    ],
    ids=["empty", "short", "npz", "pickle", "text", "zeros"],
)
def test_foreign_files_are_refused(path, data, match):
    refuse(path, data, match)


def test_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        TreeVAEClustering.load(tmp_path / "model")


def test_folders_are_refused(tmp_path):
    with pytest.raises(OSError, match=re.escape(tmp_path.name)):
        TreeVAEClustering.load(tmp_path)


def test_unknown_versions_are_refused(path):
    header, _, body = split(path.read_bytes())
    header["__metadata__"]["format_version"] = "2"
    refuse(path, seal_header(header, body), "format version 2, .* Update sktreevae")


def test_unknown_parameters_are_refused(path):
    header, content, body = split(path.read_bytes())
    content["parameters"]["new"] = 1
    content["package_version"] = "9.0"
    match = r"no parameters \['new'\]. The model was saved by sktreevae 9.0"
    refuse(path, seal(header, content, body), match)


def test_missing_parameters_have_their_defaults(path):
    header, content, body = split(path.read_bytes())
    del content["parameters"]["temperature"]
    path.write_bytes(seal(header, content, body))
    assert TreeVAEClustering.load(path).temperature == 0.5


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (["model", "config", "hidden_dim"], 10**12),
        (["model", "config", "latent_dim"], 10**30),
        (["model", "config", "n_features"], 10**12),
        (["model", "config", "bottom_up_depth"], 10**12),
        (["model", "config", "router_dims"], [10**9, 10**9]),
        (["model", "config", "router_dims"], [1] * 10**5),
        (["model", "config", "image_shape"], [10**9, 10**9]),
        (["model", "config", "likelihood"], "bernoulli"),
        (["model", "config", "decoder"], "custom"),
        (["model", "config", "other"], 1),
        (["model", "feature_map", "n_outputs"], 10**12),
        (["model", "feature_map", "kind"], "eval"),
        (["model", "topology"], [-1, 0, 0]),
        (["model", "topology"], [-1, 0, 0, 0, 0]),
        (["model", "topology"], [-1, 0, 0, True, True]),
        (["attributes", "n_iter_"], 10**12),
        (["attributes", "n_iter_"], "2"),
        (["attributes", "n_features_in_"], 5),
        (["attributes", "feature_names_in_"], ["a", "b"]),
        (["attributes", "predict"], 1),
        (["attributes", "likelihood_"], "poisson"),
        (["history", "phase"], ["joint"]),
        (["history", "elbo"], [0.0, 0.0]),
        (["parameters", "max_iter"], 0),
        (["parameters", "random_state"], {"random_state": {"key": []}}),
        (["parameters", "device"], {"device": "nowhere"}),
        (["parameters"], 3),
        (["model"], None),
    ],
    ids=str,
)
def test_content_that_disagrees_with_the_arrays_is_refused(path, keys, value):
    header, content, body = split(path.read_bytes())
    *outer, last = keys
    target = content
    for key in outer:
        target = target[key]
    target[last] = value
    refuse(path, seal(header, content, body), "has invalid content")


def test_claims_of_many_rows_are_refused(path):
    header, content, body = split(path.read_bytes())
    for name in ("dendrogram.labels", "model.root_head.weight"):
        changed = copy.deepcopy(header)
        changed[name]["shape"] = [10**12, *changed[name]["shape"][1:]]
        refuse(path, seal(changed, content, body), "the size of its shape")
        # An empty array may have any number of rows.
        changed[name] |= {"shape": [10**12, 0], "data_offsets": [0, 0]}
        refuse(path, seal(changed, content, body), "has invalid content")


@pytest.mark.parametrize("name", ["dendrogram.labels", "model.root_head.weight"])
def test_other_names_of_arrays_are_refused(path, name):
    header, content, body = split(path.read_bytes())
    renamed = {"other" if key == name else key: header[key] for key in header}
    refuse(path, seal(renamed, content, body), "has invalid content")


def test_labels_outside_of_the_tree_are_refused(path, model, tmp_path):
    model = copy.deepcopy(model)
    model.dendrogram_.labels[0] = 3
    with pytest.raises(ValueError, match="labels must lie between 0 and"):
        reload(model, tmp_path)


# Files of format version 1 in tests/data, which must load forever. They were written by
#
#     PYTHONPATH=. python -c "import tests.test_persistence as t; t.write_version_1()"
#
# and are never written again. A new format version gets files of its own.

VERSION_1 = {
    "model_v1": ({"random_state": np.random.RandomState(3)}, CASES["names"][1]),
    "model_v1_functions": (
        {
            "image_shape": (8, 8),
            "encoder": small_encoder,
            "decoder": nn.Linear,
            "views": ImageAugmentation((8, 8), low=0.0, high=1.0),
            "device": torch.device("cpu"),
        },
        lambda: load_digits().data[:20] / 16,
    ),
}


def load_version_1(name):
    functions = {"encoder": small_encoder, "decoder": nn.Linear}
    is_custom = "encoder" in VERSION_1[name][0]
    path = DATA / f"{name}.safetensors"
    return TreeVAEClustering.load(path, **(functions if is_custom else {}))


def results_without_noise(model, X):
    """Return results that don't depend on torch's random numbers."""
    methods = ("predict", "predict_proba", "transform", "reconstruct")
    return {
        **{method: getattr(model, method)(X).tolist() for method in methods},
        "labels": model.labels_.tolist(),
        "linkage": model.linkage_matrix_.tolist(),
        "newick": model.dendrogram_.to_newick(),
        "choices": model.choices_,
        "elbo": model.history_["elbo"],
        "phase": model.history_["phase"],
    }


def write_version_1():
    for name, (parameters, make) in VERSION_1.items():
        X = make()
        model = TreeVAEClustering(**{"n_clusters": 3, **TINY, **parameters}).fit(X)
        model.save(DATA / f"{name}.safetensors")
        results = json.dumps(results_without_noise(model, X[:5]))
        (DATA / f"{name}.json").write_text(results + "\n", encoding="utf-8")


@pytest.mark.parametrize("name", VERSION_1)
def test_files_of_version_1_load(name):
    parameters, make = VERSION_1[name]
    model = load_version_1(name)
    for parameter, value in {"latent_dim": 2, **parameters}.items():
        if parameter != "random_state":
            assert getattr(model, parameter) == value
    expected = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    results = results_without_noise(model, make()[:5])
    assert results.keys() == expected.keys()
    for key, value in results.items():
        if key in ("newick", "choices", "phase"):
            assert value == expected[key]
        else:
            # Other machines round differently.
            np.testing.assert_allclose(value, expected[key], rtol=1e-3, atol=1e-4)


def test_files_of_version_1_can_be_used(tmp_path):
    model, X = load_version_1("model_v1"), CASES["names"][1]()
    assert isinstance(model.random_state, np.random.RandomState)
    assert model.sample(3)[0].shape == (3, 4)
    assert_same_results(reload(model, tmp_path), model, X)
    assert model.partial_fit(X).n_samples_seen_ == 300


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
    assert unknown == ["sktreevae.clustering.TreeVAEClustering"]
    assert_same_results(skops.loads(data, trusted=unknown), model, iris())


def test_pickles_of_unfitted_estimators(model):
    twin = pickle.loads(pickle.dumps(clone(model)))
    assert twin.get_params() == model.get_params()
    assert not hasattr(twin, "module_")


def test_pickles_hold_no_tensors_and_no_training_data(model):
    state = model.__getstate__()
    arrays = state["module_"]["arrays"]
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    assert "device_" not in state
    n_values = sum(array.size for array in arrays.values())
    assert len(pickle.dumps(model)) < 4 * n_values + 20_000


def test_pickles_of_a_missing_device_open_on_the_cpu(model):
    state = model.__getstate__()
    state["device"] = "cuda:99"
    twin = TreeVAEClustering()
    with pytest.warns(UserWarning, match="The model is on the CPU") as caught:
        twin.__setstate__(state)
    assert caught[0].filename == __file__
    assert (twin.predict(iris()) == model.labels_).all()


@pytest.mark.parametrize("version", [None, 2])
def test_pickles_of_unknown_versions_are_refused(model, version):
    state = model.__getstate__()
    state["format_version"] = version
    with pytest.raises(ValueError, match=f"format version {version}, .* version 1"):
        TreeVAEClustering().__setstate__(state)


def test_clones_are_unfitted(model):
    twin = clone(model)
    assert not hasattr(twin, "module_")
    assert twin.get_params() == model.get_params()
