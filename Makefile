# Every target works from a fresh clone: .venv is made on first use and again when pyproject.toml changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 4

.PHONY: setup demo demo-kafka test takeover lint bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || \
	  { echo "Millstream needs Python 3.11 to 3.14: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/python configs/demo/demo.py

demo-kafka: setup
	$(BIN)/python configs/demo/demo.py --kafka

# Tests start hundreds of brokers and workers: compiled once, even where PYTHONDONTWRITEBYTECODE is set.
test: setup
	$(BIN)/python -m compileall -q broker connect connectors
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -q

takeover: setup
	MILLSTREAM_TAKEOVER=1 $(BIN)/python -m pytest tests/conformance/takeover -q

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build *.egg-info
