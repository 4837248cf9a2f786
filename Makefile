# make demo   sets up .venv and runs the main experiment
# make test   sets up .venv and runs tests and examples in docstrings
# Both take another Python by PYTHON=python3.12, and another folder by VENV=...

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: demo test lint types bench clean

demo: $(READY)
	@echo "3/3 running FR-Train"
	@$(BIN)/rfjax run fr-train

test: $(READY)
	@echo "3/3 running the tests"
	@$(BIN)/python -m pytest -n auto --dist loadfile

$(READY): pyproject.toml constraints.txt
	@echo "1/3 making $(VENV)"
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is needed: say PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV)
	@echo "2/3 installing, a minute or two and 1 GB"
	@(while sleep 15 >/dev/null; do echo "    still installing"; done) & beat=$$!; trap "kill $$beat" EXIT; \
	  $(BIN)/python -m pip install -qq --disable-pip-version-check --progress-bar off --no-compile -e '.[test]' -c constraints.txt
	@touch $@

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(READY)
	@$(BIN)/python benchmarks/fr_train.py
	@$(BIN)/python -c 'import torch' 2>/dev/null && $(BIN)/python benchmarks/co_teaching.py || echo "co_teaching: needs PyTorch: pip install '.[torch]'"

clean:
	@rm -rf $(VENV) .venv312 .cache .pytest_cache .ruff_cache .hypothesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
