# Every target first installs what it needs; if that is installed already, it takes no time.
SHELL := /bin/bash
WAYBILL := .venv/bin/waybill
LAB := .venv/bin/lab
COUNT ?= 500
MINUTES ?= 10

# A value as one word of the shell, whatever characters it has.
quoted = '$(subst ','\'',$(1))'
option = $(if $(2),--$(1) $(call quoted,$(2)))
# The dead letters of one queue, or of all with QUEUE=all.
of_queue = $(if $(filter all,$(QUEUE)),--all,$(call option,queue,$(QUEUE)))
without_queue = echo "Name the queue: make $@ QUEUE=sap, or QUEUE=all for all of them." >&2; exit 2

.DEFAULT_GOAL := help
.PHONY: help setup demo prove test test-fast check bench-relay soak observe up down status doctor dead-letters replay-dead-letters \
        discard-dead-letters dashboards lock clean

help: ## List every target with a sentence about it.
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install all dependencies; the other targets do so by themselves.
	@lab/stack/bootstrap.sh

demo: setup ## Send 500 orders (COUNT=n) through a fresh system and print the results; ORDERS=DIR takes a real folder.
	@$(LAB) demo $(if $(ORDERS),--orders-dir "$(ORDERS)",--orders $(COUNT))

prove: setup ## Prove under random faults that no effect is lost or doubled, 8 minutes; QUICK=1 1.5, SEED=n ORDERS=n.
	@$(LAB) prove $(if $(filter-out 0,$(QUICK)),--quick) $(if $(SEED),--seed $(SEED)) $(if $(ORDERS),--orders $(ORDERS))

# Tests delete all queues of a given broker before each test, so then one file runs at a time.
test: setup ## Run the whole test suite on real servers, three files at a time; ARGS="-k word" passes options to pytest.
	@.venv/bin/python -m pytest --numprocesses $(if $(value AMQP_URL),0,3) --dist loadfile $(ARGS)

test-fast: setup ## Run the tests that start no server, within a minute; ARGS="-k word" passes options to pytest.
	@.venv/bin/python -m pytest --numprocesses 2 -m fast tests/unit tests/config tests/contract $(ARGS)

check: setup ## Run ruff, mypy --strict, the import contracts, the lints of prose and sizes, and the Compose schema.
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy --strict .
	@.venv/bin/lint-imports
	@.venv/bin/python -m lab.checks.prose
	@.venv/bin/python -m lab.checks.sizes
	@.venv/bin/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml

bench-relay: setup ## Measure the relay on real servers, some minutes; QUICK=1 a tenth of it, ARGS="--only idle" a part.
	@.venv/bin/python -m lab.bench.relay $(if $(filter-out 0,$(QUICK)),--quick) $(ARGS)

soak: setup ## Send 10 orders a second for ten minutes (MINUTES=n) and check that neither backlog nor memory grows.
	@$(LAB) soak --minutes $(MINUTES)

observe: setup ## Compare metrics, alerts and dashboards with the facts about 200 orders under faults, 2 minutes.
	@$(LAB) observe

up: setup ## Start the whole system in the background and print its URLs.
	@$(LAB) up

down: ## Stop the system of `make up`; its data stays in .local/up.
	@if [ -x $(LAB) ]; then $(LAB) down; else echo "Nothing is installed in this checkout, so no program runs."; fi

status: setup ## Show each program of `make up`: its state, pid, uptime and address.
	@$(LAB) status

doctor: setup ## Check servers, versions, queues and settings of the running system.
	@$(WAYBILL) doctor

dead-letters: setup ## List open dead letters; QUEUE=sap takes one queue, ARGS="--step NAME" narrows the list.
	@$(WAYBILL) dead-letters list $(if $(filter-out all,$(QUEUE)),$(of_queue)) $(ARGS)

replay-dead-letters: setup ## Replay dead letters: QUEUE=sap (or all) [SINCE=2h] [RATE=5/s] [WHY="…"] [DRY_RUN=1].
	@$(if $(QUEUE),$(WAYBILL) dead-letters replay $(of_queue) $(call option,since,$(SINCE)) \
	  $(call option,rate,$(RATE)) $(call option,why,$(WHY)) $(if $(filter-out 0,$(DRY_RUN)),--dry-run) \
	  $(ARGS),$(without_queue))

discard-dead-letters: setup ## Discard dead letters: QUEUE=sap (or all) WHY="why they are not needed" [SINCE=2h].
	@$(if $(QUEUE),$(if $(WHY),$(WAYBILL) dead-letters discard $(of_queue) $(call option,since,$(SINCE)) \
	  $(call option,why,$(WHY)) $(ARGS),echo 'Give the reason: make $@ QUEUE=sap WHY="why they are not needed"' >&2; exit 2),$(without_queue))

dashboards: setup ## Write the dashboards, the alert rules' lists and the workers' scrape targets anew from the tables.
	@.venv/bin/python -m dashboards

lock: setup ## Resolve requirements/*.in anew into pinned, hashed requirements/*.txt.
	@cd requirements && for file in bootstrap runtime lab dev; do \
	  ../.venv/bin/uv pip compile --quiet --generate-hashes --no-emit-index-url --python-version 3.11 \
	    --custom-compile-command "make lock" $$file.in -o $$file.txt || exit 1; \
	done

clean: down ## Stop everything and delete .local, .venv and all caches.
	@rm -rf .local .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
