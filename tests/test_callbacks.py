"""Callbacks of scikit-learn, the package's own, and interrupts of a fit."""

import itertools
import pickle
from functools import partial
from types import SimpleNamespace
from unittest.mock import DEFAULT, Mock, create_autospec

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import from_numpy
from torch.utils.data import TensorDataset

from sktreevae import TreeVAEClustering
from sktreevae.callbacks import EarlyStopping, ELBOMonitor
from sktreevae.estimator import attributes
from sktreevae.training.growth import TreeGrowth
from sktreevae.training.optimizer import AdamW

from .estimator.cases import assert_same

sklearn_callback = pytest.importorskip("sklearn.callback")

X, Y = make_blobs([30] * 4, 3, cluster_std=0.5, random_state=0)
make = partial(
    TreeVAEClustering,
    3,
    hidden_dim=8,
    latent_dim=2,
    max_iter=2,
    random_state=0,
    n_jobs=1,
)


def names(context):
    """Return the names of a task and of those above it, the outermost first."""
    above = () if context.parent is None else names(context.parent)
    return (*above, context.task_name)


class Spy:
    """Records the tasks; asks for no value that has to be computed."""

    def __init__(self, stops=lambda task: False):
        self.stops = stops
        self.events = []
        self.begun = []
        self.ended = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.begun.append(names(context))

    def on_fit_task_end(self, estimator, context):
        self.ended.append(names(context))
        return self.stops(self)


class Keeper(Spy):
    """Keeps the fitted estimator of each task, and its probabilities then."""

    def __init__(self, stops=lambda task: False):
        super().__init__(stops)
        self.kept = []

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        proba = None
        if fitted_estimator is not None:
            proba = fitted_estimator.predict_proba(X)
        self.kept.append((fitted_estimator, proba))
        self.last_y = y
        return super().on_fit_task_end(estimator, context)


class Interrupt(Spy):
    """Raises KeyboardInterrupt at the end of the nth task of a name."""

    def __init__(self, name="epoch", n=1):
        super().__init__()
        self.name = name
        self.n = n

    def on_fit_task_end(self, estimator, context):
        super().on_fit_task_end(estimator, context)
        ended = [task[-1] for task in self.ended]
        if ended[-1] == self.name and ended.count(self.name) == self.n:
            raise KeyboardInterrupt


def assert_unchanged(model, error, fit):
    """Check that a fit raises an error and leaves the estimator as it was."""
    before = vars(model).copy()
    with pytest.raises(error):
        fit(X)
    assert vars(model) == before


@pytest.fixture(
    scope="module",
    params=[
        "guided",
        "iterative",
        pytest.param("published", marks=pytest.mark.nightly),
    ],
)
def growth(request):
    return request.param


@pytest.fixture(scope="module")
def watched(growth):
    """Return an estimator, and the callback that has kept each stage of it."""
    keeper = Keeper()
    model = make(growth=growth, early_stopping=growth == "iterative")
    return model.set_callbacks(keeper).fit(X, Y), keeper


# Tasks


def test_a_fit_with_callbacks_is_the_same_to_the_bit(watched):
    model, _ = watched
    assert_same(model, clone(model).set_callbacks().fit(X), X)


def test_tasks_of_a_fit(watched, growth):
    _, keeper = watched
    names = "features", "graph", "proposal", "initialization", "routers"
    stages = [(name,) for name in names]
    epochs = [*[("joint", "epoch")] * 2, ("joint",)]
    expected = [*stages, *epochs]
    if growth != "guided":
        phases = [
            task
            for name in ("initial", "split")
            for task in [
                *[("growth", "proposal")] * (growth == "iterative"),
                *[("growth", name, "epoch")] * 2,
                ("growth", name),
            ]
        ]
        finetune = [*[("finetune", "epoch")] * 2, ("finetune",)]
        expected = [("features",), *phases, ("growth",), *finetune]
    assert keeper.ended == [("fit", *task) for task in expected] + [("fit",)]
    assert sorted(keeper.begun) == sorted(keeper.ended)
    assert keeper.begun[0] == ("fit",)
    assert keeper.events == ["setup", "teardown"]


def test_estimators_that_are_kept_do_not_change(watched):
    _, keeper = watched
    n_epochs = 0
    for task, (model, proba) in zip(keeper.ended, keeper.kept, strict=True):
        n_epochs += task[-1] == "epoch"
        if n_epochs == 0:
            assert model is None
            continue
        np.testing.assert_array_equal(model.predict_proba(X), proba)
        np.testing.assert_array_equal(model.predict(X), model.labels_)
        assert model.n_iter_ == len(model.history_["epoch"]) == n_epochs
        assert np.isfinite(model.score(X))


@pytest.mark.parametrize("n", [1, 3])
def test_a_stopped_fit_is_the_estimator_that_was_kept(watched, growth, n):
    _, keeper = watched
    if growth == "guided":
        n = 1

    def stops(spy):
        return [task[-1] for task in spy.ended].count("epoch") >= n

    model = make(growth=growth, early_stopping=growth == "iterative")
    model.set_callbacks(Spy(stops)).fit(X)
    assert model.n_iter_ == n
    kept = [fitted for fitted, _ in keeper.kept if fitted is not None]
    (expected,) = [fitted for fitted in kept if fitted.n_iter_ == n][:1]
    assert_same(model, expected, X)


def test_a_phase_that_is_stopped_does_not_stop_the_next(growth):
    def stops(spy):
        return spy.ended[-1][-1] == "epoch"

    model = make(growth=growth).set_callbacks(Spy(stops)).fit(X)
    n_phases = {"guided": 1, "iterative": 3, "published": 3}[growth]
    assert model.history_["epoch"] == [0] * n_phases
    if growth != "guided":  # there, one epoch has fewer steps of the routers
        # An epoch is one step, so that the schedules don't tell the fits apart.
        assert_same(model, make(growth=growth, max_iter=1).fit(X), X)


@pytest.mark.parametrize("growth", ["iterative", "published"])
@pytest.mark.parametrize("ending", ["interrupt", "stop"])
def test_the_lower_bound_is_of_all_samples_if_a_split_is_the_last_phase(growth, ending):
    model = make(growth=growth)
    if ending == "interrupt":
        with pytest.warns(ConvergenceWarning, match="interrupted in phase 'split'"):
            model.set_callbacks(Interrupt(n=3)).fit(X)
    else:
        model.set_callbacks(Spy(lambda spy: spy.ended[-1][-1] == "growth")).fit(X)
    n_epochs = len(model.history_["epoch"]) - 2
    assert model.history_["phase"] == ["initial"] * 2 + ["split"] * n_epochs
    assert model.lower_bound_ == model.history_["elbo"][1]


def test_a_split_that_is_stopped_ends_the_growth_and_not_the_fit():
    def stops(spy):
        return spy.ended[-1][-1] == "initial"

    model = make(growth="iterative").set_callbacks(Spy(stops)).fit(X)
    assert model.history_["phase"] == ["initial"] * 2 + ["finetune"] * 2
    assert model.n_clusters_ == 2


def test_no_estimator_is_computed_unless_a_callback_asks(growth, monkeypatch):
    finished = create_autospec(TreeGrowth.finished, side_effect=TreeGrowth.finished)
    monkeypatch.setattr(TreeGrowth, "finished", finished)
    make(growth=growth).set_callbacks(Spy()).fit(X)
    assert finished.call_count == 1  # the estimator itself


def test_rows_are_recomputed_without_a_trace_for_data_out_of_memory():
    rows = TensorDataset(from_numpy(X))
    model = make(growth="published").fit(rows)

    class Asking(Spy):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator):
            super().on_fit_task_end(estimator, context)

    assert_same(model, clone(model).set_callbacks(Asking()).fit(rows), X)


class Saver(Spy):
    """Saves both estimators of each task; keeps their epochs, or the error."""

    def __init__(self, path):
        super().__init__()
        self.path = path
        self.own, self.fitted = [], []

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        for model, results in ((estimator, self.own), (fitted_estimator, self.fitted)):
            if model is None:
                continue
            try:
                model.save(self.path)
                loaded = TreeVAEClustering.load(self.path)
                np.testing.assert_equal(loaded.history_, model.history_)
                results.append(loaded.n_iter_)
            except ValueError as error:
                results.append(str(error))
        return super().on_fit_task_end(estimator, context)


@pytest.mark.parametrize(
    ("method", "n_epochs"), [("fit", [1, 2, 2, 2]), ("partial_fit", [3, 3, 3])]
)
def test_callbacks_save_complete_fits_only(method, n_epochs, tmp_path):
    saver = Saver(tmp_path / "model.safetensors")
    model = make().fit(X).set_callbacks(saver)
    getattr(model, method)(X)
    assert saver.fitted == n_epochs
    # The estimator itself is complete at the end of the fit only. Until then also a
    # history of as many epochs as that of the fit before is refused.
    *errors, last = saver.own
    assert last == n_epochs[-1]
    assert all("save needs a complete fit" in error for error in errors)


def test_invalid_parameters_are_found_before_callbacks_are_set_up():
    callback = Spy()
    with pytest.raises(ValueError, match="n_clusters"):
        TreeVAEClustering(-1).set_callbacks(callback).fit(X)
    assert callback.events == []


def test_a_fitted_estimator_keeps_nothing_of_the_fit(watched):
    model, _ = watched
    private = {name for name in vars(model) if name.startswith("_")}
    assert private - {"_skl_callbacks"} == {
        name for name in vars(make().fit(X)) if name.startswith("_")
    }


def test_partial_fit_calls_callbacks():
    keeper = Keeper()
    model = make().fit(X).set_callbacks(keeper)
    same = clone(model).set_callbacks().fit(X).partial_fit(X[:50])
    model.partial_fit(X[:50], Y[:50])
    path = ("partial_fit", "partial_fit", "epoch")
    assert keeper.ended == [path, path[:2], path[:1]]
    np.testing.assert_array_equal(keeper.last_y, Y[:50])
    for kept, _ in keeper.kept:
        assert_same(kept, same, X)
    assert_same(model, same, X)


def test_the_first_partial_fit_is_one_fit():
    spy = Spy()
    make().set_callbacks(spy).partial_fit(X)
    assert spy.events == ["setup", "teardown"]
    assert spy.ended[-1] == ("fit",)


# Callbacks of scikit-learn


def test_scoring_monitor_follows_the_scores_of_known_labels():
    monitor = sklearn_callback.ScoringMonitor(scoring="adjusted_rand_score")
    model = make().set_callbacks(monitor)
    labels = model.fit_predict(X, Y)
    rows = monitor.get_logs().data
    assert [row["task_name"] for row in rows] == ["fit", "joint", "epoch", "epoch"]
    scores = [row["adjusted_rand_score"] for row in rows]
    assert scores[0] == scores[-1] == pytest.approx(adjusted_rand_score(Y, labels))


@pytest.mark.parametrize(
    "estimator",
    [GridSearchCV(make(), {"n_clusters": [2, 3]}, cv=2), make(growth="iterative")],
    ids=["search", "iterative"],
)
def test_progress_bar(estimator, capsys):
    pytest.importorskip("rich")
    bar = sklearn_callback.ProgressBar(max_propagation_depth=None)
    clone(estimator).set_callbacks(bar).fit(X)
    text = capsys.readouterr().out
    assert "TreeVAEClustering - " in text
    # All tasks of a known number of steps are complete.
    assert "100%" in text


# Callbacks of the package


def test_the_monitor_records_all_fits_of_a_search():
    monitor = ELBOMonitor()
    model = make().set_callbacks(monitor)
    search = GridSearchCV(model, {"n_clusters": [2, 3]}, cv=2).fit(X)
    logs = monitor.get_logs()
    assert len({log["run_id"] for log in logs}) == 1
    assert len({log["task_id_path"] for log in logs}) == len(logs) == 5 * 2
    best = search.best_estimator_.history_
    assert [log["elbo"] for log in logs[-2:]] == best["elbo"]
    assert best.keys() < logs[0].keys()


def test_the_monitor_selects_the_last_run():
    monitor = ELBOMonitor()
    model = make().set_callbacks(monitor)
    model.fit(X).partial_fit(X)
    assert [log["phase"] for log in monitor.get_logs()] == ["partial_fit"]
    assert len(monitor.get_logs(select="all")) == 3
    with pytest.raises(ValueError, match="select must be one of"):
        monitor.get_logs("first")


def test_a_monitor_without_records():
    with pytest.raises(ValueError, match="no records yet"):
        ELBOMonitor().get_logs()


@pytest.mark.parametrize("callback", [ELBOMonitor(), EarlyStopping()])
def test_callbacks_need_the_estimator_itself(callback):
    pipeline = make_pipeline(StandardScaler(), make()).set_callbacks(callback)
    with pytest.raises(TypeError, match="needs a TreeVAEClustering, got Pipeline"):
        pipeline.fit(X)


@pytest.mark.parametrize("callback", [ELBOMonitor(), EarlyStopping(patience=7)])
def test_callbacks_can_be_pickled(callback):
    model = make().set_callbacks(callback)
    pickle.loads(pickle.dumps(model)).fit(X)


@pytest.mark.parametrize("patience", [1, 2])
def test_a_phase_ends_after_epochs_without_improvement(patience, growth):
    callback = EarlyStopping(patience=patience, tol=1e9)
    model = make(growth=growth, max_iter=6).set_callbacks(callback).fit(X)
    # The first epoch of a phase is always an improvement.
    n_phases = {"guided": 1, "iterative": 3, "published": 3}[growth]
    assert model.history_["epoch"] == list(range(patience + 1)) * n_phases


def test_improvements_reset_the_patience():
    context = SimpleNamespace(task_name="epoch")
    callback = EarlyStopping(patience=2, tol=0.5)
    elbos = [-1.0, -9.0, -8.8, -8.0, -8.0, -7.4, -9.0, -7.0]
    stops = []
    for n in range(2, len(elbos) + 1):
        history = {"elbo": elbos[:n], "epoch": [0, *range(n - 1)]}  # of two phases
        estimator = SimpleNamespace(history_=history)
        stops.append(callback.on_fit_task_end(estimator, context))
    assert stops == [False] * 6 + [True]


def test_held_out_samples_are_monitored():
    callback = EarlyStopping("validation_elbo", patience=1, tol=1e9)
    model = make(early_stopping=True, max_iter=6).set_callbacks(callback).fit(X)
    assert model.n_iter_ == 2


def test_there_are_no_held_out_samples_to_monitor():
    model = make().set_callbacks(EarlyStopping("validation_elbo"))
    with pytest.raises(ValueError, match="needs a TreeVAEClustering with early_stop"):
        model.fit(X)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"monitor": "loss"}, "monitor must be one of 'elbo', 'validation_elbo'"),
        ({"patience": 0}, "patience must be an int"),
        ({"patience": 1.5}, "patience must be an int"),
        ({"tol": -1.0}, "tol must be a"),
    ],
)
def test_parameters_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**settings)


# Interrupts


@pytest.mark.parametrize("n", [1, 2, 4])
def test_an_interrupt_keeps_the_model(growth, n):
    if growth == "guided":
        n = min(n, 2)
    model = make(growth=growth).set_callbacks(Interrupt(n=n))
    message = f"interrupted in phase .* after {n} epochs .* of 3 clusters"
    with pytest.warns(ConvergenceWarning, match=message):
        model.fit(X)
    assert model.n_iter_ == n
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)
    assert np.isfinite(model.score(X))
    assert len(model.linkage_matrix_) == model.n_clusters_ - 1
    assert model.partial_fit(X).n_samples_seen_ == 2 * len(X)


def test_an_interrupt_after_the_training_keeps_the_model(monkeypatch):
    expected = make().fit(X)
    effects = itertools.chain([KeyboardInterrupt], itertools.repeat(DEFAULT))
    interrupted = Mock(wraps=attributes.build_dendrogram, side_effect=effects)
    monkeypatch.setattr(attributes, "build_dendrogram", interrupted)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model = make().fit(X)
    np.testing.assert_array_equal(model.labels_, expected.labels_)


@pytest.mark.parametrize("growth", ["guided", "iterative", "published"])
def test_a_second_interrupt_gets_through(growth, monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    model = make(growth=growth).fit(X)
    monkeypatch.setattr(TreeGrowth, "prune", interrupt)
    assert_unchanged(model, KeyboardInterrupt, model.fit)


def test_an_interrupt_of_the_last_callback_keeps_the_model(growth):
    expected = make(growth=growth).fit(X)
    model = make(growth=growth).set_callbacks(Interrupt("fit"))
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model.fit(X)
    assert_same(model, expected, X)


def test_a_search_goes_on_after_an_interrupt():
    # Callbacks are shared by clones: the first fit is interrupted.
    model = make().set_callbacks(Interrupt(n=1))
    search = GridSearchCV(model, {"n_clusters": [2, 3]}, cv=2)
    with pytest.warns(ConvergenceWarning, match="interrupted") as warnings:
        search.fit(X)
    assert len([w for w in warnings if "interrupted" in str(w.message)]) == 1
    assert search.best_estimator_.n_iter_ == 2


@pytest.mark.parametrize(
    ("growth", "n", "has_epoch"),
    [
        ("guided", 3, False),  # of the routers
        ("iterative", 1, False),
        ("iterative", 2, True),
        ("iterative", 4, True),
        ("iterative", 6, True),
        ("published", 3, True),
    ],
)
def test_an_interrupted_step_leaves_a_usable_model_or_none(
    growth, n, has_epoch, monkeypatch
):
    n_steps = itertools.count(1)
    step = AdamW.step

    def interrupted(self, *args):
        step(self, *args)
        if next(n_steps) == n:
            raise KeyboardInterrupt

    monkeypatch.setattr(AdamW, "step", interrupted)
    model = make(growth=growth)
    if not has_epoch:
        assert_unchanged(model, KeyboardInterrupt, model.fit)
        return
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model.fit(X)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert np.isfinite(model.score(X))
