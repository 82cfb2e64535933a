# Thin on purpose: every recipe calls a program or a test; the logic is in Python, where it is tested.
set minimum-version := "1.50.0"
set shell := ["bash", "-euo", "pipefail", "-c"]
set positional-arguments

export PYTHONDONTWRITEBYTECODE := "1"
bin := justfile_directory() / ".venv/bin"
dev := justfile_directory() / ".venv-dev/bin"

[default]
[private]
list:
    @just --list --unsorted

# Three machines on this one, bootstrapped, YOLOv5 over 12 camera clips, a table and a report
[group("demo")]
demo *args:
    @{{ bin }}/shoal demo "$@"

# Remove every trace of the demo and prove it (results under runs/ stay)
[group("demo")]
demo-down *args:
    @{{ bin }}/shoal demo-down "$@"

# shoal itself: `./just shoal --help`
[group("use")]
shoal *args:
    @{{ bin }}/shoal "$@"

# Write onprem.toml for gateways that exist, from questions or flags
[group("use")]
register *args:
    @{{ bin }}/shoal cluster init "$@"

# pyinfra of the locked environment: `./just pyinfra inventories/onprem.py deploy/site.py`
[group("use")]
pyinfra *args:
    @{{ bin }}/pyinfra "$@"

# Check over SSH that machines are what the roles promise: `./just verify lab`
[group("use")]
verify substrate="lab" *args: _dev
    @shift || true; SHOAL_SUBSTRATE="{{ substrate }}" {{ dev }}/python -m pytest tests/live -m live "$@"

# Lint, format and types
[group("develop")]
check: _dev
    {{ dev }}/ruff check
    {{ dev }}/ruff format --check
    {{ dev }}/mypy
    just --fmt --check
    sh -n just requirements/update
    {{ dev }}/python -m shoal.schemas --check

# The quick tests: no engine, no network, under three minutes
[group("develop")]
test *args: _dev
    {{ dev }}/python -m pytest -m "not lab and not live" -n 2 --timeout 120 "$@"

# The tests on real machines of a lab (brings one up, takes it down)
[group("develop")]
test-lab *args: _dev
    {{ dev }}/python -m pytest tests/lab -m lab --timeout 1500 -rA "$@"

# Write the generated JSON Schemas anew
[group("develop")]
schemas: _dev
    {{ dev }}/python -m shoal.schemas

# Format everything
[group("develop")]
fmt: _dev
    {{ dev }}/ruff check --fix
    {{ dev }}/ruff format
    just --fmt

# Lock the dependencies anew after editing pyproject.toml
[group("develop")]
lock:
    ./requirements/update

[private]
_dev:
    @SHOAL_ENVIRONMENT=dev ./just --version >/dev/null
