# Every target prepares the environment itself. `make help` lists them; ARGS="…" passes options on.

VENV   := .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.ready
ARGS   ?=
PYTHON ?=
JOBS   ?= 2

NOTEBOOK := notebooks/01_first_lowering.ipynb
DEMO     := lower sample_models.mobilenet_v2:none -o mobilenet_v2.pt --report mobilenet_v2.html
PYTEST   := $(PY) -m pytest -n $(JOBS) --dist loadfile

# JupyterLab refuses to serve root unless told to.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help lab demo test test-all bench lint format setup lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lab: $(READY) ## open JupyterLab on the first notebook (ARGS=--no-browser: only serve it)
	$(PY) -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/$(NOTEBOOK) $(AS_ROOT) $(ARGS)

demo: $(READY) ## lower MobileNetV2 and write mobilenet_v2.pt and mobilenet_v2.html
	$(PY) -m nnapi_lab $(DEMO) $(ARGS)

test: $(READY) ## run the tests (ARGS="-k pool": some of them; JOBS=4: more processes)
	$(PYTEST) $(ARGS)

test-all: $(READY) ## run the tests and the long sweeps
	$(PYTEST) -m "" $(ARGS)

bench: $(READY) ## measure speed against named peers, side by side
	$(PY) -m benchmarks $(ARGS)

lint: $(READY) ## check style (ruff) and types (mypy)
	@verdict=0; \
	for check in "ruff check ." "ruff format --check ." "mypy"; do \
	  echo "$(PY) -m $$check"; $(PY) -m $$check || verdict=1; \
	done; exit $$verdict

format: $(READY) ## rewrite the sources in the project's style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

setup: $(READY) ## only create the environment

lock: ## resolve the dependencies anew and rewrite requirements.lock and environment.yml
	@$(or $(PYTHON),python3) scripts/lock.py

clean: ## remove the environment, caches and what the demo wrote
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	rm -f mobilenet_v2.pt mobilenet_v2.html
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" bash scripts/setup.sh
