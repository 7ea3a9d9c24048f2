#!/usr/bin/env bash
# Installs what Waybill needs to run in this checkout: .venv with every dependency pinned by hash, and from the system's
# package manager Prometheus (with promtool, which the tests ask) and, where there is no other (no Docker engine, no
# AMQP_URL), RabbitMQ. PostgreSQL comes in the .venv. A second run finds the stamp of the first and does nothing. pip
# and uv use the machine's own index configuration.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON="${PYTHON:-python3}"
STAMP=.venv/waybill-stamp
POLICY=/usr/sbin/policy-rc.d

say() { printf 'waybill: %s\n' "$*"; }
fail() {
  printf 'waybill: %s\n' "$*" >&2
  exit 1
}
root() { [ "$(id -u)" -eq 0 ]; }

# Runs a command quietly; what it said is shown only when it fails.
quietly() {
  local output
  output=$(mktemp)
  if ! "$@" >"$output" 2>&1; then
    cat "$output" >&2
    rm -f "$output"
    fail "\`$*\` failed; its output is above"
  fi
  rm -f "$output"
}

# Tries with the package lists that are there; fetches new ones only when that does not do.
apt_install() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120)
  if ! "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null 2>&1; then
    quietly "${apt[@]}" update
    quietly "${apt[@]}" install -y --no-install-recommends "$@"
  fi
}

fingerprint() {
  cat requirements/*.txt pyproject.toml | sha256sum | cut -d ' ' -f 1
  pwd # a moved checkout's .venv holds paths that are no more
}

make_venv() {
  if "$PYTHON" -c 'import ensurepip' 2>/dev/null; then :; elif root; then
    say "installing python3-venv"
    apt_install python3-venv
  else
    fail "Python's venv module is missing; run: sudo apt-get install python3-venv"
  fi
  rm -rf .venv
  quietly "$PYTHON" -m venv .venv
}

install_python_packages() {
  local wanted
  wanted=$(fingerprint)
  if [ -x .venv/bin/waybill ] && [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$wanted" ]; then return; fi
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "Python 3.11 or newer is needed, $("$PYTHON" --version 2>&1 || true) was found; set PYTHON=/path/to/python3.11"
  say "installing Python packages into .venv"
  rm -f "$STAMP"
  # An interpreter that is gone, or a checkout that was moved: the .venv is of no more use.
  if ! .venv/bin/python -m pip --version >/dev/null 2>&1 || ! grep -qF "$PWD/.venv" .venv/bin/activate; then make_venv; fi
  quietly .venv/bin/python -m pip install --quiet --require-hashes -r requirements/bootstrap.txt
  # uv itself is not in dev.txt, so sync takes both files or it would remove itself. Compiled once here: where Python
  # may not write bytecode, a dozen processes would compile a thousand modules each at every start.
  quietly .venv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes \
    requirements/bootstrap.txt requirements/dev.txt
  quietly .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --offline \
    --editable .
  printf '%s\n' "$wanted" >"$STAMP"
}

has_rabbitmq() {
  local server
  for server in /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server /opt/rabbitmq/sbin/rabbitmq-server \
    /opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server; do
    if [ -x "$server" ]; then return 0; fi
  done
  return 1
}

docker_answers() {
  command -v docker >/dev/null && timeout 5 docker version >/dev/null 2>&1 &&
    timeout 5 docker compose version >/dev/null 2>&1
}

has_prometheus() {
  command -v prometheus >/dev/null && command -v promtool >/dev/null
}

# The packages would start servers of the machine's own. A policy that answers 101 forbids all starts; whatever policy
# stood there before is put back, also when the installation fails.
install_without_starting() {
  local kept=""
  if [ -e "$POLICY" ] || [ -L "$POLICY" ]; then
    kept=$(mktemp -u "$POLICY.waybill.XXXXXX")
    mv "$POLICY" "$kept"
  fi
  # shellcheck disable=SC2064  # the name as it is now
  trap "rm -f '$POLICY'; [ -z '$kept' ] || mv '$kept' '$POLICY'" EXIT
  trap 'exit 130' INT TERM HUP
  printf '#!/bin/sh\nexit 101\n' >"$POLICY"
  chmod 755 "$POLICY"
  apt_install "$@"
}

need_servers() {
  local missing=() otherwise=""
  has_prometheus || missing+=(prometheus)
  if [ -z "${AMQP_URL:-}" ] && ! has_rabbitmq && ! docker_answers; then
    missing+=(rabbitmq-server)
    otherwise=" (instead of rabbitmq-server: set AMQP_URL, or start Docker)"
  fi
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  root || fail "packages are missing; run: sudo apt-get install --no-install-recommends ${missing[*]}$otherwise"
  command -v apt-get >/dev/null || fail "there is no apt-get; install by hand: ${missing[*]}$otherwise"
  say "installing ${missing[*]} (no service is started)"
  (install_without_starting "${missing[@]}")
  has_prometheus || fail "the package prometheus brought no prometheus and promtool into PATH"
  if [[ " ${missing[*]} " == *" rabbitmq-server "* ]] && ! has_rabbitmq; then
    fail "the package rabbitmq-server brought no server below /usr/lib/rabbitmq; set AMQP_URL"
  fi
}

need_servers
install_python_packages
