# Everything happens in .venv and .venv-oldest; `make clean` removes them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

OLDEST := .venv-oldest
OLDEST_TESTS := $(addprefix tests/,data graph io training test_setup.py \
	utils/test_archive.py utils/test_cache.py utils/test_devices.py estimator/test_sklearn_checks.py)

.PHONY: demo test test-all test-processors test-oldest docs clean

demo: $(VENV)/demo
	$(BIN)/python examples/plot_digits_tree.py --save demo.png

test: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# All settings and examples, also those that are marked as nightly.
test-all: $(VENV)/test
	$(BIN)/python -m pytest -m "" --numprocesses auto --maxprocesses 4 --dist worksteal

# Kernels of other processors: of torch, then of its matrix products.
KERNELS := ATEN_CPU_CAPABILITY=default ATEN_CPU_CAPABILITY=avx2 \
	MKL_CBWR=COMPATIBLE MKL_CBWR=AVX2

test-processors: $(VENV)/test
	for kernels in $(KERNELS); do \
		echo $$kernels && env $$kernels $(BIN)/python -m pytest --quiet \
			-m "" --numprocesses auto --maxprocesses 4 -k "rows or products or invariance" \
			tests/model/test_products.py tests/estimator/test_sklearn_checks.py \
			tests/estimator/test_clustering_rows.py || exit 1; \
	done

# The oldest versions that setup.cfg allows.
test-oldest: $(OLDEST)/test
	$(OLDEST)/bin/python -m pytest --numprocesses auto --maxprocesses 4 \
		--dist worksteal $(OLDEST_TESTS)

docs: $(VENV)/docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) $(OLDEST) build dist docs/_build docs/gallery docs/api sktreevae.egg-info

$(VENV)/demo: EXTRAS = plot
$(VENV)/test: EXTRAS = test
$(VENV)/docs: EXTRAS = docs

# Torch first, and pinned: nothing else is to choose its version.
$(VENV)/demo $(VENV)/test $(VENV)/docs: setup.cfg constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable '.[$(EXTRAS)]'
	touch $@

# On Linux, PyPI has old versions of torch for CUDA only: 5 GB, which takes minutes.
$(OLDEST)/test: setup.cfg constraints-oldest.txt
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/pip install --quiet --no-cache-dir \
		--constraint constraints-oldest.txt --editable '.[test]'
	touch $@
