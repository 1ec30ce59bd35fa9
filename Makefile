PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# notebooks in tests run on a sample, in a run folder of their own
SAMPLE := MLSYS_RUN_SAMPLE=3000 MLSYS_RUN_BUILD=build/sample

.DEFAULT_GOAL := help
.PHONY: help run book test test-tables browser docs docs-serve lab bench save contents hooks lint lock clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.venv/.installed: requirements.lock pyproject.toml setup.py
	@test -n "$(PYTHON)" || { echo "Python 3.11 is needed; set PYTHON=/path/to/python3.11"; exit 2; }
	@echo "installing into .venv (some minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: .venv/.installed  ## the whole pipeline on the flights (or on the table of settings.ini); ends with the report's path
	@mlsys run

test: run  ## every test: notebooks, properties, faults, whole-system runs, export check, coverage
	@nbdev-export && git diff --exit-code --stat -- mlsys
	@ruff check
	@rm -rf build/sample
	$(SAMPLE) python -m pytest --quiet --nbval-lax nbs/[0-9][0-9]_*.ipynb  # the rooms: tests/test_chapters.py, and make book
	python -m pytest tests -n 2 --dist loadfile --cov --cov-report=term --cov-fail-under=90

browser:  ## Chromium for the tests of the labelling desk: Debian's, where none is there and apt may install it
	@command -v chromium || command -v chromium-browser || command -v google-chrome || { echo "installing Chromium" && apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium > /dev/null; } || \
	  echo "no Chromium, and apt could not install it: tests in a browser will be skipped (with CI=1: they will fail)"

book: run  ## every page of the book executed: the rooms behind the chapters too
	@mlsys run --book > /dev/null

docs: book  ## the site, from the executed notebooks, into _site/
	@python tools/docs.py

docs-serve: docs  ## the site on http://127.0.0.1:8000
	@python -m http.server --bind 127.0.0.1 --directory _site 8000

lab: .venv/.installed  ## JupyterLab: the project, opened at the chapters
	@jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/nbs/index.ipynb

test-tables: run  ## whole runs on sixty tables that nobody here chose (hours)
	@python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[bench]'
	@python -m pytest tests/test_tables.py -m slow
	@python benchmarks/tables.py

bench: run  ## side-by-side measurements against the peers (installs them first)
	@python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[bench]'
	@python benchmarks/run.py

save: book  ## put the outputs of the last run into nbs/, clean, and accept them as up to date
	@python tools/save.py && python tools/contents.py

contents: .venv/.installed  ## README.md from nbs/index.ipynb, and the sidebar of the site
	@python tools/contents.py

hooks: .venv/.installed  ## git hooks that clean notebooks and merge them by cell
	@nbdev-install-hooks

lint: .venv/.installed  ## ruff
	@ruff check

lock: .venv/.installed  ## write requirements.lock from what is installed
	@python -m pip list --format=freeze --exclude-editable | sed "s,+cpu,,; /^pip=/d" > requirements.lock

clean:  ## remove what was built (the environment stays)
	rm -rf build _site dist .dvc/cache .dvc/tmp dvc.lock
