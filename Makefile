# `make demo` and `make test` need Python 3.10 or newer and nothing else; both first install into .venv.
#
#   make demo    analyze the shipped network end to end
#   make figures the figures and tables of the papers, and figures/index.html, which shows them
#   make test    format, lint, types and all tests
#   make fast    the tests that take seconds
#   make lint    format, lint and types only
#   make docs    the documentation, in docs/_build/html; every warning is an error
#   make clean   remove the environment and everything generated
#
# Settings (make demo PYTHON=python3.12):
#   PYTHON       the interpreter that creates the environment
#   VENV         where the environment lies
#   CONSTRAINTS  the versions to install: requirements/tested.txt or requirements/minimum.txt
#   TORCH_INDEX  an extra package index with CPU builds of torch, for platforms whose default build carries CUDA
#   JOBS         test processes

PYTHON      ?= python3
VENV        ?= .venv
CONSTRAINTS ?= requirements/tested.txt
TORCH_INDEX ?=
JOBS        ?= 2

PY    := $(VENV)/bin/python
STAMP := $(VENV)/installed
DEMO_NETWORK := models/checkpoints/mnist-mlp.safetensors

.PHONY: demo figures test fast lint docs clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(VENV)/bin/milpcomp analyze $(DEMO_NETWORK) --domain 0 1 --out demo

figures: $(STAMP)
	OMP_NUM_THREADS=1 $(PY) -m analyses.book --out figures

test: lint
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS)

fast: $(STAMP)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n $(JOBS) -m "not slow"

lint: $(STAMP)
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

docs: $(STAMP)
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html

# The stamp is written last, so an interrupted install leaves none; a virtual environment that was interrupted before it
# had pip is made again.
$(STAMP): pyproject.toml $(CONSTRAINTS) $(PY)
	@rm -f $@
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install --disable-pip-version-check --constraint $(CONSTRAINTS) \
	    $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --editable '.[dev,docs]'
	@touch $@

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "milpcomp needs Python 3.10 or newer, and $(PYTHON) is " + sys.version.split()[0] + "; name another one: make PYTHON=...")'
	$(PYTHON) -m venv --clear $(VENV)

clean:
	rm -rf $(VENV) demo figures build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
