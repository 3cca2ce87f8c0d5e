# Tidegate: every target sets up what it needs. `make test` and `make demo` work on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_SECONDS ?=
DEMO_ARGS ?=
# How many share the tests, each with a broker of its own. Many tests wait for something: four keep two cores busy.
PROCESSES ?= 4
LITELLM := .cache/litellm-venv
LITELLM_CALLS ?= 5000
FUZZ_MESSAGES ?= 1000000
FUZZ_SECONDS ?= 600
BENCH_ARGS ?=

.PHONY: setup demo test test-litellm lint bench-replay bench-backtest bench-ingest bench-latency bench-soak bench-detect bench-detection bench-forecast bench-config fuzz schemas lock clean help
.DEFAULT_GOAL := help

help: ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.ready: requirements.lock pyproject.toml
	@echo "==> Making the virtual environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "==> Installing the locked dependencies"
	@$(BIN)/pip install --progress-bar on --disable-pip-version-check -q --require-hashes -r requirements.lock
	@echo "==> Installing Tidegate itself"
	@$(BIN)/pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@

# What is compiled is used only while its sources are as they were: this saves speed, not correctness.
COMPILED_FROM := hatch_build.py service/errors.py \
  $(shell find compiled detectors schemas service/ingest service/settings -name '*.py')
$(VENV)/.compiled: $(VENV)/.ready $(COMPILED_FROM)
	@$(BIN)/python hatch_build.py
	@touch $@

setup: $(VENV)/.ready $(VENV)/.compiled ## Make the virtual environment and compile what runs most, nothing else

demo: setup ## Run the main job on an embedded broker; DEMO_SECONDS=60 ends by itself
	$(BIN)/tidegate demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS)) $(DEMO_ARGS)

test: setup $(LITELLM)/.ready ## Linters, types, layers and every test
	@echo "==> ruff"; $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "==> mypy --strict"; $(BIN)/mypy
	@echo "==> import-linter"; $(BIN)/lint-imports
	@echo "==> pytest"; $(BIN)/pytest -n $(PROCESSES) --dist load --maxschedchunk 1 --ignore tests/litellm
	@echo "==> pytest: in the LiteLLM proxy, one for all of them"; $(BIN)/pytest tests/litellm

lint: setup ## ruff, mypy --strict and import-linter only
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

# uv, for speed: pip takes 48 s over it, uv 3. Where only pip knows where packages come from, pip.
$(LITELLM)/.ready: tests/litellm/requirements.lock | $(VENV)/.ready
	@echo "==> Making LiteLLM's environment in $(LITELLM)"
	@test -x $(LITELLM)/bin/python || $(PYTHON) -m venv $(LITELLM)
	@$(BIN)/uv pip install -q --python $(LITELLM)/bin/python --require-hashes -r $< \
	  || $(LITELLM)/bin/pip install --disable-pip-version-check -q --require-hashes -r $<
	@touch $@

test-litellm: setup $(LITELLM)/.ready ## The gateway in the real LiteLLM proxy: prints the figures of docs/gateway.md; LITELLM_CALLS=500 for less
	TIDEGATE_LITELLM_CALLS=$(LITELLM_CALLS) $(BIN)/pytest -rA --timeout=3600 tests/litellm

bench-replay: setup ## A million events through replay, twice: same bytes, and how fast
	$(BIN)/python -m benchmarks.replay

bench-backtest: setup ## Fourteen days of fifty workflows through two configurations: time, events per second
	$(BIN)/python -m benchmarks.backtest $(BENCH_ARGS)

RIVALS := .cache/bench-venv
$(RIVALS)/.ready: benchmarks/rivals/requirements.lock
	@echo "==> Making the rivals' environment in $(RIVALS)"
	@test -x $(RIVALS)/bin/python || $(PYTHON) -m venv $(RIVALS)
	@$(RIVALS)/bin/pip install --disable-pip-version-check -q --require-hashes -r $<
	@touch $@

bench-ingest: setup $(RIVALS)/.ready ## Ingest side by side with others on one topic; BENCH_ARGS="--events 500000 --only tidegate,limit"
	$(BIN)/python -m benchmarks.ingest $(BENCH_ARGS)

bench-latency: setup ## From published to readable in a rollup, at half of the maximum; BENCH_ARGS="--rate 40000"
	$(BIN)/python -m benchmarks.latency $(BENCH_ARGS)

bench-soak: setup ## Ingest's memory over ten minutes, as docs/images/soak.svg; BENCH_ARGS="--minutes 10 --rate 40000"
	$(BIN)/python -m benchmarks.soak $(BENCH_ARGS)

bench-detect: setup ## 10,000 workflows in one detect worker: time, state, changelog; BENCH_ARGS="--quick" only to see that it runs
	$(BIN)/python -m benchmarks.detect $(BENCH_ARGS)

bench-detection: setup ## Detectors side by side on labelled streams; BENCH_ARGS="--quick" for a few minutes and a verdict
	$(BIN)/python -m benchmarks.detection $(BENCH_ARGS)

bench-forecast: setup ## Forecasts of a budget's window on recorded clients, beside linear pace: one JSON line
	$(BIN)/python -m benchmarks.forecast $(BENCH_ARGS)

bench-gateway: setup ## What the gateway library costs a call: microseconds per publish and per decision
	$(BIN)/python -m benchmarks.gateway $(BENCH_ARGS)

bench-decisions: setup ## The decision API on one core: time to an answer at 2,000 requests/s, and the most it answers
	$(BIN)/python -m benchmarks.decisions $(BENCH_ARGS)

bench-budget: setup ## How far past a hard budget 200 callers get, one gateway process and three; BENCH_ARGS="--repeats 1" for less
	$(BIN)/python -m benchmarks.hard_budget $(BENCH_ARGS)

bench-stop: setup ## From a loop to its first refused call, beside 20,000 events/s; BENCH_ARGS="--rates 5000 --trials 10"
	$(BIN)/python -m benchmarks.stop_loop $(BENCH_ARGS)

bench-outage: setup ## The broker is gone for two minutes: who goes on, who stops, what is counted; BENCH_ARGS="--seconds 20"
	$(BIN)/python -m benchmarks.outage $(BENCH_ARGS)

bench-config: setup ## From `tidegate config apply` to in force in every worker; BENCH_ARGS="--rounds 30"
	$(BIN)/python -m benchmarks.config_apply $(BENCH_ARGS)

fuzz: setup ## A million hostile messages, guided fuzzing, the property tests with many more examples (an hour or so)
	$(BIN)/python -m tests.fuzz --messages $(FUZZ_MESSAGES)
	$(BIN)/python -m tests.fuzz --messages $$(( $(FUZZ_MESSAGES) / 10 )) --foreign
	@$(BIN)/python -c 'import atheris' 2>/dev/null \
	  || $(BIN)/pip install --disable-pip-version-check -q --require-hashes -r requirements-fuzz.lock \
	  || echo "==> No Atheris for this platform: no guided fuzzing"
	@! $(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m tests.fuzz.guided $(FUZZ_SECONDS)
	$(BIN)/pytest --hypothesis-profile=fuzz --timeout=7200 tests/schemas tests/detectors $(addprefix tests/service/,budgets dead_letters detect ingest notify outcomes rules)

schemas: setup ## Write schemas/json, the tables of docs/wire-format.md and the decision API's document again
	$(BIN)/python -m schemas.generate && $(BIN)/python -m schemas.document && $(BIN)/python -m service.decisions.openapi

LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet
lock: setup ## Write the lock files again from pyproject.toml: for work, for the image, to build the wheel, to fuzz
	$(LOCK) --extra dev pyproject.toml -o requirements.lock
	$(LOCK) --constraint requirements.lock pyproject.toml -o requirements-runtime.lock
	$(LOCK) benchmarks/rivals/requirements.txt -o benchmarks/rivals/requirements.lock
	$(LOCK) tests/litellm/requirements.txt -o tests/litellm/requirements.lock
	printf 'hatchling\nmypy\nsetuptools\n' | $(LOCK) --constraint requirements.lock - -o requirements-build.lock
	echo 'atheris>=3,<3.1' | $(LOCK) - -o requirements-fuzz.lock

clean: ## Remove everything the targets made
	rm -rf $(VENV) compiled/_made .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
