"""Any sequence of calls gives valid results, or errors that name the problem."""

import copy
import pickle
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError

from sktreevae import TreeVAEClustering

pytest.importorskip("sklearn.callback")

QUICK = {"hidden_dim": 8, "latent_dim": 2, "max_iter": 1, "batch_size": 16}
CHANGES = {
    "n_clusters": [1, 2, 4, None],
    "growth": ["guided", "iterative", "published"],
    "likelihood": ["auto", "gaussian"],
    "early_stopping": [False, True],
    "min_cluster_size": [None, 1, 0.3],
    "max_depth": [None, 0, 1],
    "max_iter": [1, 2],
    "views": [None, "neighbors"],
    "learning_rate": ["auto", 1e-12, 1.0, 1e6, 1e30],
    "weight_decay": [1e-5, 1e30],
    "n_jobs": [None, 2],
}


def spoiled(value):
    """Return rows with a value in the middle."""
    X = np.ones((20, 3), dtype=object if isinstance(value, str) else float)
    X[7, 1] = value
    return X


BAD_ROWS = {
    "NaN": spoiled(np.nan),
    "infinity": spoiled(np.inf),
    "text|string": spoiled("abc"),
    "0 sample": np.ones((0, 3)),
    "0 feature": np.ones((20, 0)),
    "1D|2D": np.ones(20),
    "dim": np.ones((20, 3, 1, 2)),
    "[Cc]omplex": np.ones((20, 3), dtype=complex),
    "None|scalar": None,
}


@st.composite
def rows(draw):
    """Return few rows of some kind of data."""
    n, width = draw(st.integers(4, 40)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 3)))
    kind = draw(st.sampled_from(["blobs", "constant", "binary", "counts", "sparse"]))
    X = make_blobs(n, width, centers=3, random_state=int(rng.integers(9)))[0]
    X *= 10.0 ** draw(st.sampled_from([0, 0, 0, -30, -300, 15, 30]))
    if kind == "constant":
        X[:] = X[0]
    elif kind == "binary":
        X = rng.integers(0, 2, (n, width))
    elif kind == "counts":
        X = rng.poisson(3.0, (n, width))
    elif kind == "sparse":
        X = sparse.csr_array(X * (rng.random((n, width)) < 0.3))
    return X.astype(draw(st.sampled_from([np.float64, np.float32])))


class UserError(Exception):
    """An error of a user's code."""


class Raising:
    """Raises an exception in a task of a fit."""

    def __init__(self, exception, n_tasks):
        self.exception, self.n_tasks = exception, n_tasks

    def setup(self, estimator, context):
        pass

    teardown = setup

    def on_fit_task_begin(self, estimator, context):
        self.n_tasks -= 1
        if self.n_tasks == 0:
            raise self.exception

    def on_fit_task_end(self, estimator, context):
        return False


class Calls(RuleBasedStateMachine):
    """Calls of one estimator; `results` are those of the last fit that succeeded."""

    @initialize(X=rows())
    def begin(self, X):
        self.folder = Path(tempfile.mkdtemp())
        self.model = TreeVAEClustering(2, random_state=0, **QUICK)
        self.X, self.results = X, None

    def teardown(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def probe(self):
        """Return all that a fitted model says of the rows of its first fit."""
        model, X = self.model, self.X
        dense = X.toarray() if sparse.issparse(X) else X
        proba = model.predict_proba(dense)
        return {
            "labels": model.labels_,
            "linkage": model.linkage_matrix_,
            "proba": proba,
            "transform": model.transform(X),
            "reconstruct": model.reconstruct(X),
            "score": model.score_samples(X),
            "means": model.node_means(),
        }

    def succeeded(self, X):
        """Check the results of a fit."""
        self.results = self.probe()
        model, labels = self.model, self.model.labels_
        assert labels.shape == (X.shape[0],)
        assert set(labels) <= set(range(model.n_clusters_))
        assert model.n_iter_ == len(model.history_["elbo"])
        for values in self.results.values():
            assert np.isfinite(values).all()
        np.testing.assert_allclose(self.results["proba"].sum(1), 1.0, rtol=1e-5)
        assert (np.diff(model.linkage_matrix_[:, 2]) >= 0).all()

    def same(self, one, two):
        for name, values in one.items():
            assert np.array_equal(values, two[name]), name

    def fit(self, X, method="fit"):
        """Fit, and check the results; only a rate that is too high may fail."""
        before = self.X
        try:
            getattr(self.model, method)(X)
        except FloatingPointError:
            assert max(self.rate(), self.model.weight_decay) >= 1.0
        else:
            self.X = X if method == "fit" or self.results is None else before
            self.succeeded(X)

    def rate(self):
        rate = self.model.learning_rate
        return 0.0 if rate == "auto" else rate

    @rule(name=st.sampled_from(sorted(CHANGES)), data=st.data())
    def set_parameter(self, name, data):
        self.model.set_params(**{name: data.draw(st.sampled_from(CHANGES[name]))})

    @rule(X=rows())
    def fit_rows(self, X):
        self.fit(X)

    @rule(
        match=st.sampled_from(sorted(BAD_ROWS)),
        method=st.sampled_from(["fit", "partial_fit", "predict", "score"]),
    )
    def call_with_bad_rows(self, match, method):
        with pytest.raises((ValueError, TypeError)) as caught:
            getattr(self.model, method)(BAD_ROWS[match])
        # Or there is no fit, or one of another width.
        assert re.search(f"{match}|fitted|features", str(caught.value))

    @rule(
        exception=st.sampled_from([KeyboardInterrupt(), UserError()]),
        n_tasks=st.integers(1, 12),
        method=st.sampled_from(["fit", "partial_fit"]),
    )
    def fit_with_a_callback_that_raises(self, exception, n_tasks, method):
        callback = Raising(exception, n_tasks)
        self.model.set_callbacks(callback)
        with suppress(type(exception)):
            self.fit(self.X, method)
        self.model.set_callbacks()

    @precondition(lambda self: self.results is not None)
    @rule()
    def partial_fit(self):
        self.fit(self.X[: max(1, self.X.shape[0] // 2)], "partial_fit")

    @rule(n_tasks=st.integers(1, 12))
    def resume(self, n_tasks):
        whole = clone(self.model).set_params(random_state=1)
        killed = clone(whole).set_params(
            checkpoint_dir=self.folder / "state", checkpoint_interval=0.0
        )
        shutil.rmtree(self.folder / "state", ignore_errors=True)
        killed.set_callbacks(Raising(SystemExit(), n_tasks))
        for model in (whole, killed, killed.set_callbacks()):
            with suppress(SystemExit, FloatingPointError):
                model.fit(self.X)
        assert hasattr(whole, "labels_") == hasattr(killed, "labels_")
        if hasattr(whole, "labels_"):
            assert np.array_equal(whole.labels_, killed.labels_)
            assert whole.score(self.X) == killed.score(self.X)

    @precondition(lambda self: self.results is not None)
    @rule(how=st.sampled_from(["pickle", "copy", "save"]))
    def copy_model(self, how):
        if how == "pickle":
            self.model = pickle.loads(pickle.dumps(self.model))
        elif how == "copy":
            self.model = copy.deepcopy(self.model)
        else:
            self.model.save(self.folder / "model")
            self.model = TreeVAEClustering.load(self.folder / "model")

    @rule()
    def clone(self):
        fresh = clone(self.model)
        assert repr(fresh.get_params()) == repr(self.model.get_params())
        with pytest.raises(NotFittedError, match="not fitted"):
            fresh.predict(self.X)

    @precondition(lambda self: self.results is not None)
    @rule(data=st.data())
    def cut(self, data):
        n = self.model.n_clusters_
        k = data.draw(st.integers(-1, n + 1))
        if not 1 <= k <= n:
            with pytest.raises(ValueError, match="n_clusters must be"):
                self.model.predict(self.X, n_clusters=k)
            return
        labels, fine = self.model.predict(self.X, k), self.model.predict(self.X)
        assert labels.max() < k
        assert len(set(zip(fine, labels, strict=True))) == len(set(fine))
        assert len(self.model.sample(3, cluster=k - 1, n_clusters=k)[0]) == 3

    @precondition(lambda self: self.results is not None)
    @rule(with_rows=st.booleans(), against=st.sampled_from([None, "rest"]))
    def explain(self, with_rows, against):
        X = self.X if with_rows else None
        assert all(finding.problem for finding in self.model.diagnose(X))
        if len(self.model.dendrogram_.internal_nodes) == 0:
            return
        try:
            found = self.model.explain(None, X, against=against)
        except ValueError as error:
            if "fewer than two rows" not in str(error):
                raise
        else:
            assert all(np.isfinite(e.effect).all() for e in found)

    @invariant()
    def the_last_fit_stays(self):
        if self.results is not None:
            self.same(self.results, self.probe())


@pytest.mark.filterwarnings("ignore::UserWarning")
class TestCalls(Calls.TestCase):
    settings = settings(
        max_examples=settings.default.max_examples // 5, stateful_step_count=12
    )
