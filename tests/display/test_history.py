import numpy as np

from sktreevae.display import HistoryDisplay

GROWN = ["initial"] * 3 + ["split"] * 5 + ["refresh"] * 2 + ["finetune"] * 4
GROWN_EPOCHS = [0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 0, 1, 2, 3]


def history(phase, epoch, **columns):
    n = len(phase)
    nan = [np.nan] * n
    terms = {
        "elbo": np.linspace(-900.0, -500.0, n).tolist(),
        "reconstruction": np.linspace(-880.0, -480.0, n).tolist(),
        "kl_root": np.linspace(9.0, 1.0, n).tolist(),
        "kl_nodes": np.linspace(8.0, 2.0, n).tolist(),
        "kl_decisions": np.linspace(3.0, 1.0, n).tolist(),
        "contrast": nan,
        "validation_elbo": nan,
    }
    return {"phase": phase, "epoch": epoch, **terms, **columns}


def known(line):
    """Return the points of a line."""
    x, y = line.get_data()
    return x[~np.isnan(x)].tolist(), y[~np.isnan(y)].tolist()


def test_lines_have_the_values_of_the_history():
    columns = history(GROWN, GROWN_EPOCHS)
    display = HistoryDisplay(columns).plot()
    assert list(display.lines_) == [
        "elbo",
        "reconstruction",
        "kl_root",
        "kl_nodes",
        "kl_decisions",
    ]
    for name, line in display.lines_.items():
        assert known(line) == (list(range(1, 15)), columns[name])


def test_optional_columns_are_drawn_if_known():
    columns = history(GROWN, GROWN_EPOCHS)
    known = dict.fromkeys(("contrast", "validation_elbo"), columns["elbo"])
    display = HistoryDisplay({**columns, **known}).plot()
    assert known.keys() <= display.lines_.keys()


def test_lines_are_interrupted_where_a_phase_starts():
    display = HistoryDisplay(history(GROWN, GROWN_EPOCHS)).plot()
    gaps = np.flatnonzero(np.isnan(display.lines_["elbo"].get_xdata()))
    # Two splits are two phases.
    starts = [0, 3, 6, 8, 10]
    np.testing.assert_array_equal(gaps, np.add(starts, range(5)))


def test_phases_of_one_epoch_have_markers():
    columns = history(["joint"] * 3 + ["partial_fit"] * 2, [0, 1, 2, 0, 0])
    line = HistoryDisplay(columns).plot().lines_["elbo"]
    marked = line.get_xdata()[line.get_markevery()]
    np.testing.assert_array_equal(marked, [4.0, 5.0])


def test_a_single_phase_has_no_band():
    display = HistoryDisplay(history(["joint"] * 4, [0, 1, 2, 3])).plot()
    texts = [text.get_text() for text in display.legends_[0].get_texts()]
    assert texts == ["ELBO (larger is better)", "reconstruction (log-likelihood)"]
    assert not display.axes_[0].patches
    several = HistoryDisplay(history(["joint"] * 4, [0, 1, 0, 1])).plot()
    assert len(several.axes_[0].patches) == 2
