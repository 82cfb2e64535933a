# Thin on purpose: every recipe calls a program or a test; the logic is in Python, where it is tested.
set minimum-version := "1.50.0"
set shell := ["bash", "-euo", "pipefail", "-c"]
set positional-arguments

# Bytecode is kept, in one ignored folder: every process begins sooner, and none of it lies between the sources.
export PYTHONDONTWRITEBYTECODE := ""
export PYTHONPYCACHEPREFIX := justfile_directory() / ".tools/bytecode"
bin := justfile_directory() / ".venv/bin"
dev := justfile_directory() / ".venv-dev/bin"
stacks := justfile_directory() / ".venv-stacks/bin"

[default]
[private]
list:
    @just --list --unsorted

# Three machines on this one, bootstrapped, YOLOv5 over 12 camera clips, a table and a report
[group("demo")]
[no-exit-message]
demo *args:
    @{{ bin }}/shoal demo "$@"

# Cameras over RTSP watched through an outage with a power cut in it: what was lost, what arrived, a page
[group("demo")]
[no-exit-message]
demo-live *args:
    @{{ bin }}/shoal demo-live "$@"

# Remove every trace of the demos and prove it (results under runs/ stay)
[group("demo")]
[no-exit-message]
demo-down *args:
    @{{ bin }}/shoal demo-down "$@"

# Make a cloud lab, or register boxes that exist: `./just up gcp --project my-project`, `./just up edge`
[group("stacks")]
[no-exit-message]
up substrate *args: _stacks
    @{{ stacks }}/shoal up "$@"

# The stack's machines become a cluster: `./just bootstrap gcp`
[group("stacks")]
[no-exit-message]
bootstrap substrate *args: _stacks
    @{{ stacks }}/shoal bootstrap "$@"

# The job on every compute node, and its results home: `./just run gcp`
[group("stacks")]
[no-exit-message]
run substrate *args: _stacks
    @shift; {{ stacks }}/shoal run --cluster "$({{ stacks }}/shoal cluster where "{{ substrate }}")" "$@"

# Where a cluster is no longer what was asked for: `./just drift gcp` (lab and edge too)
[group("stacks")]
[no-exit-message]
drift substrate *args: _stacks
    @{{ stacks }}/shoal drift "$@"

# Drain, unregister, destroy, and prove that nothing is left: `./just destroy gcp`
[group("stacks")]
[no-exit-message]
destroy substrate *args: _stacks
    @{{ stacks }}/shoal destroy "$@"

# Up, bootstrap, run and report on a cloud lab; `--destroy` takes it down again
[group("stacks")]
[no-exit-message]
demo-cloud *args: _stacks
    @{{ stacks }}/shoal demo-cloud "$@"

# shoal itself: `./just shoal --help`
[group("use")]
[no-exit-message]
shoal *args:
    @{{ bin }}/shoal "$@"

# Write onprem.toml for gateways that exist, from questions or flags
[group("use")]
[no-exit-message]
register *args:
    @{{ bin }}/shoal cluster init "$@"

# pyinfra of the locked environment: `./just pyinfra inventories/onprem.py deploy/site.py`
[group("use")]
[no-exit-message]
pyinfra *args:
    @{{ bin }}/python -m shoal.deploys.process "$@"

# Check over SSH that machines are what the roles promise: `./just verify lab`
[group("use")]
[no-exit-message]
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
    {{ dev }}/shellcheck --shell sh --severity warning just requirements/update roles/*/files/*.sh stacks/*/files/*.sh shoal/check/*.sh shoal/deploys/*.sh tests/lab/guests/files/*.sh
    {{ dev }}/python -m shoal.schemas --check

# The quick tests, no engine, no network: all of them, or only what is given (`./just test tests/roles/test_role_docker.py`)
[group("develop")]
test *args: _dev
    if [ -n "$(for word in "$@"; do ls -d -- "${word%%::*}" 2>/dev/null || true; done)" ]; then \
        {{ dev }}/python -m pytest -m "not lab and not live and not stacks_engine" --timeout 300 "$@"; \
    else \
        {{ dev }}/python -m pytest -m "not lab and not live and not long" --ignore tests/stacks -n 4 --timeout 120 "$@"; \
        {{ dev }}/python -m pytest -m "not stacks_engine" tests/stacks -n 4 --timeout 300 "$@"; \
    fi

# The long forms of quick tests
[group("develop")]
test-long *args: _dev
    {{ dev }}/python -m pytest -m long --ignore tests/stacks --timeout 1200 "$@"

# The stacks on the real Pulumi engine, which is built from the Go module proxy at first (minutes)
[group("develop")]
test-stacks *args: _dev
    {{ dev }}/python -m pytest tests/stacks -m stacks_engine --timeout 1800 -rA "$@"
    {{ dev }}/python -m pytest tests/lab/test_edge_stack.py -m lab --timeout 1800 -rA

# The mesh in a lab, on a tailnet of its own: tailscale is built from the Go module proxy at first (minutes)
[group("develop")]
test-mesh *args: _dev
    {{ dev }}/python -m pytest tests/lab/mesh -m lab --timeout 1800 -rA "$@"

# The tests on real machines of a lab (brings one up, takes it down)
[group("develop")]
test-lab *args: _dev
    {{ dev }}/python -m pytest tests/lab -m lab --ignore tests/lab/mesh --ignore tests/lab/test_edge_stack.py --timeout 1500 -rA "$@"

# Ten thousand damaged recordings through the decoder (some twenty minutes)
[group("develop")]
fuzz-recordings files="10000" seed="1": _dev
    PYTHONPATH=detector {{ dev }}/python -m tests.detector.read.fuzz "{{ files }}" "{{ seed }}"

# The outbox killed at a thousand random moments, and its disk cut off at every step (some twenty minutes)
[group("develop")]
kill-outbox kills="1000" seed="1": _dev
    {{ dev }}/python -m tests.outbox.kill "{{ kills }}" "{{ seed }}"
    SHOAL_POWER_CUT_SEEDS=5 {{ dev }}/python -m pytest tests/outbox/test_power_cut.py

# One film of 100,000 frames through the whole detector: memory stays flat (some minutes)
[group("develop")]
endure-recordings frames="100000": _dev
    {{ dev }}/python -m tests.detector.endurance "{{ frames }}"

# Write the generated JSON Schemas anew
[group("develop")]
schemas: _dev
    {{ dev }}/python -m shoal.schemas

# Write the bill of materials and the list of licences anew from the locks
[group("develop")]
sbom: _dev
    {{ dev }}/python tests/house/sbom.py

# Write the table of rooms in docs/architecture.md anew from docs/rooms.toml
[group("develop")]
rooms: _dev
    {{ dev }}/python tests/house

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
_stacks:
    @SHOAL_ENVIRONMENT=stacks ./just --version >/dev/null

[private]
_dev:
    @SHOAL_ENVIRONMENT=dev ./just --version >/dev/null
