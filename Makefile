# Kvartal. `make run` needs Python 3.11+ and nothing else; everything it makes stays in this folder.
PYTHON ?= python3
PORT ?= 8080
ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup run test check bench format lock clean

help: ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort

setup: ## Everything that is needed for work on the code
	@$(PYTHON) scripts/bootstrap.py --dev

run: ## The product with its demo agency: make run PORT=8090
	@$(PYTHON) scripts/bootstrap.py
	@PORT=$(PORT) exec $(BIN)/python -m crm.running

test: setup ## The whole suite on SQLite and on PostgreSQL: make test ARGS="-k phones"
	@$(BIN)/python scripts/tests.py $(ARGS)

check: setup ## Format, lint, types, layers, translations, migrations, sizes
	@$(BIN)/python scripts/check.py $(ARGS)

bench: setup ## Benchmarks with their ratios to a bare baseline
	@$(BIN)/python benchmarks/run.py $(ARGS)

format: setup ## Put the code into the one format
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

lock: setup ## Write the lock files again from pyproject.toml and package.json
	@$(BIN)/python scripts/lock.py

clean: ## Remove what was made here, but not the data in instance/
	rm -rf .venv .cache node_modules static/vendor .mypy_cache .ruff_cache .pytest_cache
