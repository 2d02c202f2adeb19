# One command does all its own set-up: `make demo`, `make run`, `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# hnswlib's build would otherwise use every instruction of the building machine, and fail on another.
export HNSWLIB_NO_NATIVE := 1

.DEFAULT_GOAL := help
.PHONY: help system venv lock demo run test check bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

system: ## check for the compiler and system packages, install what is missing where apt-get is there
	@PYTHON="$(PYTHON)" tools/system_packages.sh

venv: $(READY) ## make the virtual environment with the pinned dependencies

# uv reads none of pip's settings: hand on the two that a mirror needs.
ifdef PIP_INDEX_URL
$(READY): export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef PIP_CERT
$(READY): export SSL_CERT_FILE ?= $(PIP_CERT)
endif

# pip is the last thing that venv makes, the stamp the last of all: an interrupted set-up is taken up by the next call.
$(READY): requirements.lock pyproject.toml | system
	@[ -x $(BIN)/pip ] || { echo 'Making $(VENV): about 7 GB, most of it for torch; some five minutes, as llama-cpp-python is compiled.'; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/pip install --quiet 'uv>=0.9,<1' || true
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock || { \
		echo 'uv could not install the dependencies here: going on with pip, which is slower.'; \
		$(BIN)/pip install --require-hashes --requirement requirements.lock; }
	@$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

lock: $(READY) ## choose the newest allowed versions anew and pin them in requirements.lock
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade \
		--generate-hashes --no-annotate --no-header --quiet --output-file requirements.lock
	@! grep -n '://' requirements.lock || { echo 'requirements.lock must not name a registry: see the lines above.' >&2; exit 1; }

demo: venv ## draw sample files, let the host work them off, show what it found
	$(BIN)/python -m tools.demo

run: venv ## watch inbox/ until Ctrl-C
	$(BIN)/sensorium run

test: check ## run the checks, then all the tests
	@PYTHON="$(PYTHON)" tools/system_packages.sh tests
	$(BIN)/python -m pytest tests

check: venv ## lint, types and import layers
	$(BIN)/ruff check .
	$(BIN)/mypy --strict hooks host
	$(BIN)/mypy --strict examples/*/src
	$(BIN)/lint-imports --no-logo

bench: venv ## run every benchmark, write docs/benchmarks.md
	$(BIN)/python -m tools.bench --all

docs: venv ## build the documentation into build/site, from docs/ and the code
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo 'Built: build/site/index.html. For the search in it: $(BIN)/python -m http.server --directory build/site'

clean: ## remove the virtual environment and everything that is built or cached
	rm -rf $(VENV) build dist .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find hooks host plugins examples tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
