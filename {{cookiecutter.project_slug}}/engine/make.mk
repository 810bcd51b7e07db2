# The commands of the repository, included by the Makefile; `make help` lists them in the groups of
# this file. Each creates what it needs.
.DEFAULT_GOAL := help
.PHONY: help serve check test lint format train model doctor profile reference drift score compare \
	replay image run-image load monitor \
	alerts plan up status rollback move down env-given lock lint-ci audit update clean

# PYTHON, else the Python of the image where it is installed, else any from 3.11 on.
FIND_PYTHON = $${PYTHON:-$$(for each in python$$(cat .python-version) python3 python; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$each && break; done)}
VENV := .venv
BIN := $(VENV)/bin
# Byte code is made of what is imported: of everything it takes longer than the installation.
PIP := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes --only-binary :all:
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-build \
	--fork-strategy fewest --python-version 3.11 $(if $(value UPGRADE),--upgrade)

# What make's command line sets is data: programs read it in the environment, as it was typed.
# Otherwise make would expand a `$` in it, and the shell would run what follows a `;`.
GIVEN := $(foreach each,$(filter-out -% .% MAKE% SHELL,$(.VARIABLES)),$(if \
	$(filter command,$(origin $(each))),$(each)))
$(foreach each,$(GIVEN),$(eval override $(each) := $$(value $(each)))$(eval export $(each)))
# An option, and an argument, where make's command line sets NAME; the environment alone does not.
option = $(if $(filter $2,$(GIVEN)),$${$2:+$1="$$$2"})
argument = $(if $(filter $1,$(GIVEN)),$${$1:+-- "$$$1"})
# Shells and conda's compilers export a HOST that is the name of a machine or of a platform: in the
# environment only an address counts.
serve_host = $(if $(filter HOST,$(GIVEN)),"$${HOST:-127.0.0.1}",$$(case "$$HOST" in \
	(''|localhost|*:*|[0-9]*.*.*.*[0-9]) echo "$${HOST:-127.0.0.1}";; \
	(*) echo 127.0.0.1; echo "HOST=$$HOST in the environment is not an IP address and is ignored; make serve HOST=name uses it" >&2;; esac))

# onnxruntime reports usage over the network unless told otherwise before it is imported.
export ORT_DISABLE_TELEMETRY := 1
export UV_CUSTOM_COMPILE_COMMAND := make lock

##@ Run and test

serve: $(VENV)/.serve ## Serve the models on 127.0.0.1:8000 (HOST, PORT and all other settings apply)
	@GIT_REVISION=$${GIT_REVISION-$$(git describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null)} \
		HOST=$(serve_host) LOG_FORMAT=$${LOG_FORMAT:-text} $(BIN)/python -m engine.serving

check: $(VENV)/.serve ## Check every model package: files, versions, golden answers
	@$(BIN)/python -m engine.upkeep.checksums
	@$(BIN)/python -m engine.serving.check

test: $(VENV)/.dev check ## Run the tests
	@$(BIN)/python -m pytest -q

lint: $(VENV)/.dev ## Check format, style and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy --config-file engine/mypy.ini $(wildcard engine service.py training tests)

format: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

load: $(VENV)/.dev ## Load test; starts the service itself unless URL=https://... (ENV, USERS, SECONDS)
	@$(BIN)/python -m engine.load $(call option,--url,URL) $(call option,--env,ENV) $(call option,--users,USERS) --seconds 20 $(call option,--seconds,SECONDS)

##@ Model

model: $(VENV)/.train ## Package your model (FROM=file, folder of MLflow, runs:/... or models:/...; NAME, TO=onnx, SAMPLES, OPTIONS)
	@$(BIN)/python -m $(if $(filter OPTIONS,$(GIVEN)),engine.upkeep.words OPTIONS) engine.packaging \
		$(call option,--name,NAME) $(call option,--to,TO) $(call option,--samples,SAMPLES) $(call argument,FROM)

train: $(VENV)/.train ## Train the sample model again and package it (FORMAT=onnx or joblib)
	@$(BIN)/python -m training.train $(call option,--format,FORMAT)

doctor: $(VENV)/.serve ## Report where training, lock, this environment and an image (IMAGE=tag) differ
	@$(BIN)/python -m engine.packaging.versions $(call option,--image,IMAGE)

reference: $(VENV)/.train ## Record in the package how the training data is distributed (FILE=train.csv; MODEL=name)
	@$(BIN)/python -m engine.drift record $(call option,--model,MODEL) $(call argument,FILE)

drift: $(VENV)/.train ## Say how far the rows of a file are from the training data, and draw it (FILE=recent.csv; MODEL=name, PICTURE=file)
	@$(BIN)/python -m engine.drift compare $(call option,--model,MODEL) $(call option,--picture,PICTURE) $(call argument,FILE)

score: $(VENV)/.train ## Answer a whole file (FILE=rows.csv, .jsonl or .parquet; MODEL=name, OUT=file)
	@$(BIN)/python -m engine.scoring $(call option,--model,MODEL) $(call option,--out,OUT) $(call argument,FILE)

compare: $(VENV)/.dev ## Compare the models with others on labelled rows (DATA=file; ENV=production, or OTHER=folder or image; MODEL, LABEL, METRIC, MARGIN)
	@$(BIN)/python -m engine.comparing $(call option,--other,OTHER) $(call option,--env,ENV) $(call option,--model,MODEL) \
		$(call option,--label,LABEL) $(call option,--metric,METRIC) $(call option,--margin,MARGIN) $(call argument,DATA)

replay: $(VENV)/.dev ## Ask another release for captured requests, and compare (FILE=captured.jsonl; ENV=staging, or URL=http://127.0.0.1:8000; TOLERANCE)
	@$(BIN)/python -m engine.comparing.replay $(call option,--url,URL) $(call option,--env,ENV) $(call option,--tolerance,TOLERANCE) $(call argument,FILE)

profile: $(VENV)/.train ## Measure a model and recommend a size (MODEL=name, WRITE=staging for its file)
	@$(BIN)/python -m engine.packaging.rightsizing $(call option,--model,MODEL) $(call option,--write,WRITE)

##@ Deploy

image: check ## Build the container image (ACCELERATOR=cpu or gpu, TAG=name:tag)
	@$(BIN)/python -m engine.deploy.image build $(call option,--accelerator,ACCELERATOR) $(call option,--tag,TAG)

run-image: $(VENV)/.serve ## Run the image on 127.0.0.1:8000 (PORT), read-only and without privileges
	@$(BIN)/python -m engine.deploy.image run $(call option,--tag,TAG) $(call option,--port,PORT)

plan: env-given $(VENV)/.deploy ## Show what `make up` would do (ENV=staging or production)
	@$(BIN)/python -m engine.deploy plan $(call option,--image,IMAGE) $(call argument,ENV)

up: env-given $(VENV)/.deploy ## Deploy this commit, verify it, or restore what was there (ENV, IMAGE=registry/name@sha256:...; NEW=1 makes what ENV needs first)
	@$(BIN)/python -m engine.deploy up $(call option,--image,IMAGE) $(if $(filter 1,$(value NEW)),--bootstrap) $(call argument,ENV)

status: $(VENV)/.deploy ## Show what runs and how it does (ENV, or all)
	@$(BIN)/python -m engine.deploy status $(call argument,ENV)

rollback: env-given $(VENV)/.deploy ## Bring back the release before (ENV; TO=revision for another one)
	@$(BIN)/python -m engine.deploy rollback $(call option,--to,TO) $(call argument,ENV)

move: env-given $(VENV)/.deploy ## Deploy what serves to another kind of place (ENV, TO=containerapps; NEW=1 makes what it needs first), or with FINISH=1 YES=1 remove it where it was
	@$(BIN)/python -m engine.deploy move $(call option,--to,TO) $(if $(filter 1,$(value FINISH)),--finish) $(if $(filter 1,$(value NEW)),--bootstrap) $(if $(filter 1,$(value YES)),--yes) $(call argument,ENV)

down: $(VENV)/.deploy ## Show what would be removed (ENV, or ALL=1); with YES=1 remove it, and prove that nothing bills
	@$(BIN)/python -m engine.deploy down $(if $(filter 1,$(value ALL)),--all) $(if $(filter 1,$(value YES)),--yes) $(call argument,ENV)

##@ Watch

# The value of a field of deploy/project.yaml.
named = $$(sed -nE 's/^$1: *"?([^" ]+).*/\1/p' deploy/project.yaml)

monitor: ## Watch 127.0.0.1:8000 (PORT) with Prometheus, on 127.0.0.1:9090 (LISTEN=address)
	@command -v prometheus >/dev/null || { echo 'error: Prometheus is missing; Debian and Ubuntu: apt install prometheus' >&2; exit 1; }
	@case "$$PORT" in *[!0-9]*) echo "error: PORT is '$$PORT' and has to be a number" >&2; exit 1;; esac
	@mkdir -p build
	@sed "s/127.0.0.1:8000/127.0.0.1:$${PORT:-8000}/; s#- alerts.yml#- ../engine/monitoring/alerts.yml#; \
		s#OWNER/NAME#$(call named,owner)/$(call named,name)#" engine/monitoring/prometheus.yml >build/prometheus.yml
	@sed -n 's/.*targets: */watching /p' build/prometheus.yml
	@exec prometheus --config.file=build/prometheus.yml --storage.tsdb.path=build/prometheus \
		$(or $(call option,--web.listen-address,LISTEN),--web.listen-address=127.0.0.1:9090)

alerts: ## Check and test the alert rules in engine/monitoring/
	@command -v promtool >/dev/null || { echo 'error: promtool is missing; Debian and Ubuntu: apt install prometheus' >&2; exit 1; }
	@cd engine/monitoring && promtool check config --lint-fatal prometheus.yml && promtool test rules alerts.test.yml

##@ Upkeep

lock: $(VENV)/.dev ## Compile requirements/*.in into locks with hashes (UPGRADE=1 for newer versions)
	$(COMPILE) requirements/serve-cpu.in -o requirements/serve-cpu.txt
	$(COMPILE) -c requirements/serve-cpu.txt requirements/train.in -o requirements/train.txt
	$(COMPILE) -c requirements/train.txt requirements/train.in engine/requirements/dev.in -o requirements/dev.txt
	$(COMPILE) -c requirements/dev.txt engine/requirements/deploy.in -o requirements/deploy.txt
ifneq ($(wildcard requirements/serve-gpu.in),)
	$(COMPILE) requirements/serve-gpu.in -o requirements/serve-gpu.txt
	$(COMPILE) engine/requirements/cuda.in -o requirements/cuda.txt
endif

# --strict, or a database that cannot be reached would pass for "nothing found".
audit: $(VENV)/.dev ## Look for known vulnerabilities of the locked packages
	@for each in $(wildcard requirements/serve-*.txt requirements/cuda.txt); do \
		echo "$$each"; $(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement $$each || exit 1; done

lint-ci: $(VENV)/.dev ## Check the workflows and the Dockerfile
	@$(BIN)/zizmor --offline --quiet --persona auditor --config engine/zizmor.yml .github engine/actions
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.github-actions engine/actions/*/action.yml
	@$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@$(BIN)/python -m engine.upkeep.shell .github/workflows/*.yml engine/actions/*/action.yml
	@$(BIN)/hadolint Dockerfile engine/edge/Dockerfile

update: $(VENV)/.dev ## Take over what is new in the template (CHOICE=question=answer changes an answer; TEMPLATE, TO, MERGE=1, PATCH=file)
	@$(BIN)/python -m engine.upkeep.update $(call option,--template,TEMPLATE) $(call option,--to,TO) \
		$(call option,--choice,CHOICE) $(if $(filter 1,$(value MERGE)),--merge) $(call option,--patch,PATCH)

clean: ## Remove the virtual environment and caches
	@# In a devcontainer the folder is a volume, which cannot be removed.
	test ! -d $(VENV) || find $(VENV) -mindepth 1 -delete
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis

help: ## List the commands
	@echo 'Begin with `make serve`, which runs the service here; then `make test`.'
	@awk -F ':.*## ' '/^##@ / { print "\n" substr($$0, 5) } \
		FILENAME != "engine/make.mk" && !own && /^[a-z][^ ]*:.*## / { own = 1; print "\nYours" } \
		/^[a-z][^ ]*:.*## / { printf "  %-15s  %s\n", $$1, $$2 }' \
		engine/make.mk $(filter-out engine/make.mk,$(MAKEFILE_LIST))

# `plan`, `up`, `rollback` and `move` need an environment; the answer is in make's words.
env-given:
	@$(if $(filter ENV,$(GIVEN)),test -n "$$ENV",false) || { \
		echo 'error: name the environment: make $(firstword $(filter plan up rollback move,$(MAKECMDGOALS))) ENV=staging' >&2; exit 2; }

# The locks agree with each other, so one environment grows from serving to development.
$(BIN)/python:
	@python=$(FIND_PYTHON); \
	test -n "$$python" || { echo 'error: no Python 3.11 or newer found; install one, or name it: make PYTHON=/path/to/python' >&2; exit 1; }; \
	echo "creating $(VENV) with $$("$$python" --version); the image has Python $$(cat .python-version)"; \
	"$$python" -m venv $(VENV) || { rm -rf $(VENV); echo 'error: python -m venv failed; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }

$(VENV)/.serve: requirements/serve-cpu.txt | $(BIN)/python
	@echo "installing the $$(grep -c == $<) locked packages for serving"
	@$(PIP) -r $<
	@touch $@

$(VENV)/.train: requirements/train.txt $(VENV)/.serve
	@echo "installing the $$(grep -c == $<) locked packages for training"
	@$(PIP) -r $<
	@touch $@

$(VENV)/.deploy: requirements/deploy.txt | $(BIN)/python
	@echo "installing the $$(grep -c == $<) locked packages for deploying"
	@$(PIP) -r $<
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.serve
	@echo "installing the $$(grep -c == $<) locked packages for development"
	@$(PIP) -r $<
	@touch $@
