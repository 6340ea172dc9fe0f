# `make` lists the targets. `make demo` and `make test` set up everything they need.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# As many workers as cores; `make test WORKERS=0` runs in one process.
WORKERS ?= auto

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check fix docs bench interop lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(READY): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "distore needs Python 3.11 or newer; set PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@# the venv's setuptools hooks every start of the interpreter, and nothing here needs it
	$(BIN)/python -m pip uninstall --quiet --yes setuptools 2>/dev/null || true
	@touch $@

# -I: nothing from the environment or the working directory is imported, and start-up is shorter.
dist: $(READY)
	@printf '#!%s -I\nfrom distore.cli.main import entry\n\nentry()\n' "$(CURDIR)/$(BIN)/python" > $@
	@chmod +x $@

demo: dist ## set up, then run the main job: a registry, the 2017 pipeline, fsck, resume; KEEP=1: go on serving
	$(BIN)/python demo/demo.py $(if $(KEEP),--keep)

test: dist ## set up, then run the test suite
	$(BIN)/python -m pytest -n $(WORKERS) tests --ignore=tests/interop

interop: dist ## the tests against Debian's docker-registry, skopeo, containerd, ...
	$(BIN)/python -m pytest tests/interop

test-all: test interop ## every test

check: dist ## ruff, mypy --strict, import-linter, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

fix: dist ## format, and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: dist ## write the generated reference pages again
	$(BIN)/python docs/generate.py

bench: dist ## print the performance tables (takes minutes)
	$(BIN)/python bench/run.py

lock: ## resolve requirements/dev.txt again (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --no-annotate --extra fsspec --extra server --extra testing --group dev pyproject.toml -o requirements/dev.txt

clean: ## remove the environment, ./dist and every cache
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
