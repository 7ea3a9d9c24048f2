# Every target installs what it needs first; the second time that takes no time.
SHELL := /bin/bash
WAYBILL := .venv/bin/waybill
COUNT ?= 500

.DEFAULT_GOAL := help
.PHONY: help setup demo prove test check bench-relay up down status doctor lock clean

help: ## List every target with what it does.
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what everything here needs; the other targets do so by themselves.
	@ops/bootstrap.sh

demo: setup ## Send 500 orders (COUNT=n) through a fresh system and show what happened; ORDERS=DIR takes a real folder.
	@$(WAYBILL) demo $(if $(ORDERS),--orders-dir "$(ORDERS)",--orders $(COUNT))

prove: setup ## Prove under random faults that nothing is lost or done twice, 8 minutes; QUICK=1 1.5, SEED=n ORDERS=n.
	@$(WAYBILL) prove $(if $(filter-out 0,$(QUICK)),--quick) $(if $(SEED),--seed $(SEED)) $(if $(ORDERS),--orders $(ORDERS))

test: setup ## Run the whole test suite on real servers, two files at a time; ARGS="-k word" passes options to pytest.
	@.venv/bin/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

check: setup ## Run ruff, mypy --strict, the import contracts and the Compose schema.
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy --strict .
	@.venv/bin/lint-imports
	@.venv/bin/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml

bench-relay: setup ## Measure the relay on real servers, some minutes; QUICK=1 a tenth of it, ARGS="--only idle" a part.
	@.venv/bin/python -m bench.relay $(if $(filter-out 0,$(QUICK)),--quick) $(ARGS)

up: setup ## Start the whole system in the background and print its URLs.
	@$(WAYBILL) up

down: ## Stop what `make up` started; data stays in .local/up.
	@if [ -x $(WAYBILL) ]; then $(WAYBILL) down; else echo "Nothing is installed here, so nothing runs."; fi

status: setup ## Show each program of `make up`: its state, pid, uptime and address.
	@$(WAYBILL) status

doctor: setup ## Say what is reachable, in which version, and which settings could lose messages.
	@$(WAYBILL) doctor

lock: setup ## Resolve requirements/*.in anew into pinned, hashed requirements/*.txt.
	@cd requirements && for file in bootstrap runtime dev; do \
	  ../.venv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --python-version 3.11 \
	    --custom-compile-command "make lock" $$file.in -o $$file.txt || exit 1; \
	done

clean: down ## Stop everything and delete .local, .venv and all caches.
	@rm -rf .local .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
