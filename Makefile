# Everything goes through these targets: people, CI and the Pages workflow call the same ones.
# Works with GNU make 3.81 (macOS) and later; every target installs what it needs first.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
PY := $(VENV)/bin/python
COURSE := $(VENV)/bin/course
RESULTS := runs/tests
JOBS ?= 2
PIP_ARGS ?=
# One thread a process: two test workers on two cores must not fight over threads, and seeded numbers stay put.
TEST_ENV := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 MPLBACKEND=Agg \
	PYTHONHASHSEED=0
# The installation knows this folder by its absolute path, so the stamp carries it: a moved clone sets up again.
STAMP := $(VENV)/.installed-$(shell printf '%s' "$(CURDIR)" | cksum | cut -d' ' -f1)
APT_PACKAGES := chromium fonts-nanum fonts-noto-color-emoji unicode-data unicode-cldr-core

.PHONY: help setup deps reference site publish serve test quick lint unit alone notebooks site-strict browser week claims benchmarks assets format \
	clean need-week

help: ## this list
	@echo "make TARGET, where TARGET is one of"
	@grep -E '^[a-z]+: .*## |^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## /  \1\t/' | \
		expand -t 12

setup: $(STAMP) ## Python environment in .venv (again only when requirements.txt or pyproject.toml change)

$(STAMP): requirements.txt pyproject.toml
	@set -e; \
	if $(PY) -m pip --version >/dev/null 2>&1; then :; else \
	  found=; old=; bare=; \
	  for python in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	    "$$python" -c '' >/dev/null 2>&1 || continue; \
	    if ! "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	      old="$$python is $$("$$python" -c 'import platform; print(platform.python_version())')"; continue; fi; \
	    if ! "$$python" -c 'import venv, ensurepip' 2>/dev/null; then bare="$$python"; continue; fi; \
	    found="$$python"; break; \
	  done; \
	  if [ -z "$$found" ] && [ -n "$$bare" ]; then \
	    echo "$$bare cannot make virtual environments: install its venv package" \
	      "(Debian, Ubuntu: apt install python3-venv) and run make again." >&2; exit 1; fi; \
	  if [ -z "$$found" ]; then \
	    echo "Python 3.11 or newer is needed ($${old:-no python3 was found}): install one," \
	      "or name it with make setup PYTHON=/path/to/python3.11." >&2; exit 1; fi; \
	  echo "Creating $(VENV) with $$found ($$("$$found" -c 'import platform; print(platform.python_version())'))"; \
	  rm -rf $(VENV); "$$found" -m venv $(VENV); \
	fi
	@echo "[1/3] torch"
	@$(PY) -m pip install --disable-pip-version-check $(PIP_ARGS) "$$(grep '^torch==' requirements.txt)"
	@echo "[2/3] everything else in requirements.txt"
	@$(PY) -m pip install --disable-pip-version-check $(PIP_ARGS) -r requirements.txt
	@echo "[3/3] this repository"
	@$(PY) -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@rm -f $(VENV)/.installed-*
	@touch $@

deps: ## system packages for the browser tests and Korean figures (installs where it may, names them where not)
	@set -u; case "$$(uname -s)" in \
	Linux) \
	  missing=; \
	  for package in $(APT_PACKAGES); do \
	    dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	  done; \
	  if [ -z "$$missing" ]; then exit 0; fi; \
	  if ! command -v apt-get >/dev/null; then \
	    echo "deps: no apt-get here; install what your system calls:$$missing. Going on without."; exit 0; fi; \
	  if [ "$$(id -u)" = 0 ]; then as_root=; \
	  elif sudo -n true 2>/dev/null; then as_root="sudo -n"; \
	  else echo "deps: not allowed to install; ask for: sudo apt-get install$$missing. Going on without."; exit 0; fi; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  $$as_root apt-get update -qq || true; \
	  install="$$as_root apt-get install -y -qq --no-install-recommends"; \
	  $$install $$missing >/dev/null 2>&1 && exit 0; \
	  for package in $$missing; do \
	    $$install $$package >/dev/null 2>&1 || echo "deps: apt-get could not install $$package. Going on without."; \
	  done ;; \
	Darwin) \
	  echo "deps: on macOS install a browser and the Korean font with" \
	    "'brew install --cask chromium font-nanum-gothic'; without them the browser tests are skipped."; \
	  echo "deps: the shipped emoji assets are rebuilt on Debian or Ubuntu only ('make assets')." ;; \
	*) echo "deps: only Linux (also inside WSL) and macOS are known; install a Chromium yourself. Going on without." ;; \
	esac

reference: setup .reference/.installed ## open_clip and what it needs, apart from .venv, for the tests that compare with it

.reference/.installed: requirements-reference.txt
	@rm -rf .reference
	@$(PY) -m pip install --disable-pip-version-check $(PIP_ARGS) -q --no-deps --target .reference -r $< || \
	  { rm -rf .reference; echo "reference: not to be had here; tests against open_clip are skipped."; mkdir .reference; }
	@touch $@

site: setup ## the whole site into _build/html
	$(COURSE) build
	@echo "'make serve' serves it on this machine."

publish: setup ## the site as it goes online: like site, but refuses missing receipts and those of other code
	$(COURSE) build --publish

serve: setup ## serve _build/html on this machine
	$(COURSE) serve

test: deps setup reference ## everything that CI checks
	@rm -rf $(RESULTS)
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory alone
	@$(MAKE) --no-print-directory notebooks
	@$(MAKE) --no-print-directory site-strict
	@$(MAKE) --no-print-directory browser
	@$(PY) .ci/count.py $(RESULTS)

quick: setup ## what "this commit is green" means: lint, types, prose and the fast tests, at most 3 minutes
	@$(MAKE) --no-print-directory lint
	$(TEST_ENV) $(PY) -m pytest -n $(JOBS) -m "not slow and not browser and not alone"

lint: setup
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) tools/prose.py

unit: setup
	$(TEST_ENV) $(PY) -m pytest -n $(JOBS) -m "not browser and not alone" --durations=10 --junitxml=$(RESULTS)/unit.xml

# Tests that measure seconds or memory run without neighbours.
alone: setup
	$(TEST_ENV) $(PY) -m pytest -m "alone and not browser" --junitxml=$(RESULTS)/alone.xml

notebooks: setup
	$(TEST_ENV) TINYVLM_PRESET=smoke $(PY) -m pytest --nbval-lax --nbval-current-env notebooks \
		--junitxml=$(RESULTS)/notebooks.xml

site-strict: setup
	$(COURSE) build

browser: setup
	$(TEST_ENV) $(PY) -m pytest -m browser --junitxml=$(RESULTS)/browser.xml

need-week:
	@case "$(N)" in [1-9]|1[0-4]) ;; *) \
	  echo "N is '$(N)': name a week from 1 to 14, for example make week N=3." >&2; exit 1 ;; esac

week: need-week setup ## run a chapter for real: make week N=3 [PRESET=smoke|cpu|gpu]
	$(COURSE) run $(N) $(if $(PRESET),--preset $(PRESET))

claims: need-week setup ## run the arms of a week's claims, resumable: make claims N=3 [PRESET=cpu]
	$(COURSE) claims $(N) $(if $(PRESET),--preset $(PRESET))

benchmarks: setup reference ## time the core against named peers; writes benchmarks/results.md (quiet machine, minutes)
	$(PY) benchmarks/run.py

assets: deps setup ## rebuild the shipped emoji assets from Debian's packages
	$(PY) tools/build_assets.py

format: setup ## ruff, fixing what it can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .
	$(PY) -m ruff format --config line-length=88 notebooks/*.ipynb

clean: ## remove what was built (not .venv, not runs/)
	rm -rf _build book/_generated .pytest_cache .mypy_cache .ruff_cache .hypothesis $(RESULTS)
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
