# `make help` lists the targets. Only Python (3.11 or newer) and make are needed: the rest is installed into .venv.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The newest Python that really starts (a version manager's shim may be there without its Python).
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
# Always "python -m": the scripts of a virtual environment do not survive a path with a space.
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 24

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and was not found; set PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { echo "$(PYTHON) cannot make a virtual environment (on Debian: apt install python3-venv)" >&2; exit 1; }

$(VENV)/run.stamp: requirements/run.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing the pinned requirements into $(VENV) (once) …"
	@$(PIP) install --quiet --require-hashes --requirement requirements/run.txt
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	@echo "Installing the pinned development requirements into $(VENV) (once) …"
	@$(PIP) install --quiet --require-hashes --requirement requirements/dev.txt
	@touch $@

.PHONY: install
install: $(VENV)/dev.stamp ## Set up .venv with everything that developers need

.PHONY: page
page: $(VENV)/run.stamp ## Build the browser calendar, if it has changed
	@$(PY) scripts/build_page.py

.PHONY: run
run: page ## Set everything up and serve, on an embedded PostgreSQL unless DATABASE_URL is set
	@exec $(PY) -m appointments serve

.PHONY: test
test: $(VENV)/dev.stamp page ## Set everything up and run all tests (on DATABASE_URL, if it is set)
	@$(PY) -m pytest $(TESTS)

.PHONY: storm
storm: $(VENV)/dev.stamp ## Storm series for two hours, the second with kills, and hold every one against its rule; SECONDS=60 for less
	@SERIES_STORM_SECONDS=$(or $(SECONDS),3600) $(PY) -m pytest -q -s tests/calendar/test_series_storm.py

.PHONY: storm-mail
storm-mail: $(VENV)/dev.stamp ## Invite 10,000 people through a mail server that fails, with kills of workers and PostgreSQL; INVITATIONS=500 for less
	@INVITATIONS=$(or $(INVITATIONS),10000) $(PY) -m pytest -q -s --timeout=0 tests/icalendar/invitations/test_storm.py

.PHONY: bench
bench: $(VENV)/dev.stamp ## Measure the service beside what bounds it; QUICK=1 for under a minute
	@$(PY) -m bench $(if $(QUICK),--quick)

.PHONY: check
check: $(VENV)/dev.stamp ## Lint, types, import direction, contract, generated code
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) -c 'import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())'
	@$(VENV)/bin/buf lint proto
	@$(VENV)/bin/buf breaking proto --against proto/released.binpb
	@$(PY) scripts/generate.py --check
	@$(PY) scripts/build_page.py --generate --check

.PHONY: format
format: $(VENV)/dev.stamp ## Format the code
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

.PHONY: proto
proto: $(VENV)/dev.stamp ## Generate src/appointments/v1 and web/src/gen from proto/
	@$(PY) scripts/generate.py
	@$(PY) scripts/build_page.py --generate

.PHONY: released
released: $(VENV)/dev.stamp ## Record today's contract as the one that must not be broken (at a release)
	@$(VENV)/bin/buf build proto --output proto/released.binpb

.PHONY: lock
lock: ## Pin the newest allowed requirements, with hashes
	@test -x $(VENV)/bin/uv || $(PIP) install --quiet uv
	@$(VENV)/bin/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-find-links --custom-compile-command 'make lock' --extra embedded --extra native --group build \
		--output-file requirements/run.txt
	@$(VENV)/bin/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-find-links --custom-compile-command 'make lock' --extra embedded --extra native --extra otel --group build --group dev \
		--constraint requirements/run.txt --output-file requirements/dev.txt
	@$(VENV)/bin/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-emit-find-links --custom-compile-command 'make lock' --extra native \
		--constraint requirements/run.txt --output-file requirements/image.txt

.PHONY: compose-up
compose-up: .env ## Build the image and run it with its database: docker compose up, on a secret of its own
	@docker compose up --build --detach --wait

.env:
	@umask 077 && echo "JWT_SECRET=$$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')" >$@
	@echo "Created .env with a random JWT_SECRET."

.PHONY: integration
integration: $(VENV)/dev.stamp ## Run the black-box tests against the composed system, and against testcontainers (needs Docker)
	@$(PY) -m tests.integration

.PHONY: alerts
alerts: $(VENV)/dev.stamp ## Make every alert fire by causing its fault (needs Debian's prometheus; some five minutes)
	@ALERTS=1 $(PY) -m pytest tests/server/test_alerts.py

.PHONY: conformance
conformance: $(VENV)/dev.stamp ## Run the public conformance suite against gRPC-Web and the native port (needs Go)
	@$(PY) -m tests.conformance

.PHONY: wheel
wheel: $(VENV)/dev.stamp page ## Build dist/*.whl, with the migrations and the page in it
	@$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

.PHONY: sbom
sbom: $(VENV)/dev.stamp ## List what the image and the wheel run on, with licences: dist/sbom.cdx.json (CycloneDX)
	@$(PY) scripts/sbom.py dist/sbom.cdx.json

.PHONY: clean
clean: ## Remove what was built (the database's data is kept elsewhere)
	@rm -rf $(VENV) dist build src/appointments/page web/node_modules .mypy_cache .ruff_cache .pytest_cache
