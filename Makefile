# Every command of the project, the same on a desk and in CI. `make` lists them.
#
# Each target brings the virtual environment up to date first (scripts/venv.sh): the first time that takes a minute
# or two and a network, afterwards neither. Runs on GNU make 3.81, which macOS has.

VENV ?= .venv
export VENV
BIN := $(VENV)/bin
# Tests that ask no clock share the cores. The others, with clusters of real processes, have the machine for themselves.
SHARING := $(addprefix tests/,docs inspection protocol replica simulator storage unit)
# Only `make lock` needs it.
UV := uv==0.13.9

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo lab test notebooks check format lint types imports images lock clean run-packages lab-packages \
	test-packages dev-packages

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: run-packages ## run the headline experiments on a real cluster, small, with charts
	@"$(BIN)/workbench" demo

lab: lab-packages ## open the notebooks in JupyterLab
	@"$(BIN)/workbench" lab

test: test-packages ## run all tests but those of the notebooks (about 15 minutes)
	@"$(BIN)/python" -m pytest --numprocesses auto --dist worksteal --durations 25 $(SHARING)
	@"$(BIN)/python" -m pytest $(addprefix --ignore=,$(SHARING))

notebooks: test-packages ## run every notebook and compare its checked outputs
	@WORKBENCH_PROFILE=ci "$(BIN)/python" -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=120 \
		--timeout=300 notebooks --ignore=notebooks/13_simulator.ipynb
	@"$(BIN)/python" -m pytest --nbval --nbval-current-env --nbval-cell-timeout=120 --timeout=300 notebooks/13_simulator.ipynb

check: lint types imports test notebooks ## all that CI checks

format: dev-packages ## rewrite the code in the project's format
	@"$(BIN)/ruff" format .
	@"$(BIN)/ruff" check --fix .

lint: dev-packages ## check format and style
	@"$(BIN)/ruff" format --check .
	@"$(BIN)/ruff" check .

types: dev-packages ## check types
	@"$(BIN)/python" -m mypy

imports: dev-packages ## check who imports whom
	@"$(BIN)/lint-imports" --no-logo

images: run-packages ## make the README's pictures and the recorded examples anew
	@scripts/images.sh "$(abspath $(BIN))/python"

lock: ## write requirements.lock anew; LOCK_FLAGS=--upgrade takes the newest versions
	@scripts/venv.sh bare
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check "$(UV)"
	@"$(BIN)/uv" pip compile --quiet --system-certs --universal --python-version 3.11 --fork-strategy fewest --all-extras \
		--custom-compile-command "make lock" $(LOCK_FLAGS) --output-file requirements.lock pyproject.toml

clean: ## remove the virtual environment and all caches; recorded runs stay
	if [ -f "$(VENV)/pyvenv.cfg" ]; then rm -rf "$(VENV)"; fi
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

run-packages lab-packages test-packages dev-packages:
	@scripts/venv.sh $(@:-packages=)
