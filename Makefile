# Everyday commands; `make help` lists them. Each creates what it needs.
.DEFAULT_GOAL := help
.PHONY: help demo rehearse test test-all lint format checksums size lock bench picture clean

# PYTHON, else an interpreter itself and not a launcher, which may choose another one elsewhere.
FIND_PYTHON = $${PYTHON:-$$(for each in python3 python3.13 python3.12 python3.11 python; do \
	$$each -c 'import sys; sys.version_info < (3, 11) and sys.exit(1); print(sys.executable)' 2>/dev/null && break; done)}
VENV := .venv
BIN := $(VENV)/bin
AZURE := build/azure
# Byte code is made of what is imported: of everything it takes longer than the installation.
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes --only-binary :all:

# What make's command line sets is data: programs read it in the environment, as it was typed.
# Otherwise make would expand a `$` in it, and the shell would run what follows a `;`.
GIVEN := $(foreach each,$(filter-out -% .% MAKE% SHELL,$(.VARIABLES)),$(if \
	$(filter command,$(origin $(each))),$(each)))
$(foreach each,$(GIVEN),$(eval override $(each) := $$(value $(each)))$(eval export $(each)))
# An option, where make's command line sets NAME; the environment alone does not.
option = $(if $(filter $2,$(GIVEN)),$${$2:+$1="$$$2"})

export ORT_DISABLE_TELEMETRY := 1
export UV_CUSTOM_COMPILE_COMMAND := make lock

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

demo: $(VENV)/.render ## Generate a service, start it, ask it (FORMAT=onnx or joblib, PORT, SERVE=0 to stop then)
	@$(BIN)/python -m scripts.demo --python="$(FIND_PYTHON)" $(call option,--format,FORMAT) \
		$(call option,--port,PORT) $(if $(filter 0,$(value SERVE)),--stop)

rehearse: $(VENV)/.dev $(AZURE)/.complete ## Play a deployment from bootstrap to the end, with no Azure account (PICTURE=docs/rehearsal.svg)
	@scripts/docker_engine.sh start >/dev/null
	@scripts/base_image.sh
	@scripts/azure_tools.sh install
	@scripts/proxies.sh install
	@$(BIN)/python -m scripts.rehearse $(call option,--picture,PICTURE)

test: $(VENV)/.dev $(if $(filter 1,$(value FAST)),,$(AZURE)/.complete) ## Test everything; FAST=1 leaves out images, deploys and README commands
	@PYTHON="$(FIND_PYTHON)" scripts/test.sh $(if $(filter 1,$(value FAST)),fast,full)

test-all: $(VENV)/.dev $(AZURE)/.complete ## Also what takes hours: all kills of a deploy, PyTorch, ten times the examples
	@PYTHON="$(FIND_PYTHON)" scripts/test.sh all

lint: $(VENV)/.dev ## Check format, style, types, shell scripts and the Dockerfile
	@scripts/lint.sh

format: $(VENV)/.dev ## Format the template's own code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@$(BIN)/python -m scripts.checksums

checksums: $(VENV)/.dev ## Write the manifest of the template's engine folder
	@$(BIN)/python -m scripts.checksums

size: $(VENV)/.dev ## Count the files and lines of a generated project, and renew docs/size.md
	@$(BIN)/python -m scripts.size

lock: $(VENV)/.dev ## Compile all locks with hashes, the template folder's too (UPGRADE=1 for newer versions)
	@$(BIN)/python -m scripts.lock $(if $(value UPGRADE),--upgrade)
	@$(BIN)/python -m benchmarks.lock $(if $(value UPGRADE),--upgrade)

bench: $(VENV)/.dev ## Measure the service beside its peers and print ratios (QUICK=1: some minutes), or beside BEFORE=REVISION
	@$(BIN)/python -m $(if $(filter BEFORE,$(GIVEN)),benchmarks.sides $(call option,--before,BEFORE),benchmarks \
		$(if $(value QUICK),--quick))

picture: $(VENV)/.dev ## Renew docs/page.png, the page of a generated service under load
	@scripts/browser.sh install
	@$(BIN)/python -m tests.page.picture

clean: ## Remove environments, caches and everything in build/
	scripts/docker_engine.sh stop
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	@python=$(FIND_PYTHON); \
	test -n "$$python" || { echo 'error: no Python 3.11 or newer found; install one, or name it: make PYTHON=/path/to/python3' >&2; exit 1; }; \
	echo "creating $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV) || { rm -rf $(VENV); echo 'error: python -m venv failed; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }

$(VENV)/.render: requirements/render.txt | $(BIN)/python
	@echo "installing the $$(grep -c == $<) locked packages for rendering"
	@$(PIP) -r $<
	@touch $@

$(VENV)/.dev: requirements/dev.txt | $(BIN)/python
	@echo "installing the $$(grep -c == $<) locked packages for development"
	@$(PIP) -r $<
	@touch $@

# The real Azure CLI beside what the Azure double needs; its versions do not suit ours.
$(AZURE)/.complete: requirements/azure.txt | $(VENV)/.dev
	@echo "installing the $$(grep -c == $<) locked packages of the Azure CLI"
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(AZURE)
	@$(BIN)/uv pip install --quiet --python $(AZURE) --require-hashes --only-binary :all: -r $<
	@touch $@
