#!/usr/bin/env bash
# Installs what Waybill needs to run in this checkout: .venv with every dependency pinned by hash, and from the system's
# package manager Prometheus (with promtool, which the tests run) and RabbitMQ, unless a Docker engine or AMQP_URL
# provides one. PostgreSQL comes in the .venv. A second run finds the stamp of the first and does nothing. pip and uv use
# the machine's own index configuration.
#
#   lab/stack/bootstrap.sh            everything; a user other than root gets no system packages
#   lab/stack/bootstrap.sh --servers  the system packages only, as root
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

PYTHON="${PYTHON:-}"
OWN_PYTHON=/usr/bin/python3.11
STAMP=.venv/waybill-stamp
POLICY=/usr/sbin/policy-rc.d
UNITS=/etc/systemd/system
RUNLEVEL=/etc/rc2.d

say() { printf 'waybill: %s\n' "$*"; }
fail() {
  printf 'waybill: %s\n' "$*" >&2
  exit 1
}
root() { [ "$(id -u)" -eq 0 ]; }
has_apt() { command -v apt-get >/dev/null; }

# Runs a command quietly; prints its output only if it fails.
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

# Tries with the present package lists, and fetches new ones only if that fails.
apt_install() {
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120)
  if ! "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null 2>&1; then
    quietly "${apt[@]}" update
    quietly "${apt[@]}" install -y --no-install-recommends "$@"
  fi
}

fingerprint() {
  cat requirements/*.txt pyproject.toml | sha256sum | cut -d ' ' -f 1
  pwd # the .venv of a moved checkout holds paths that no longer exist
}

# Sets PYTHON, unless it is given. The distribution's own 3.11 comes first, because it was built with optimisations: one
# that a version manager compiled, by default without them, takes a sixth more CPU time for everything.
choose_python() {
  if [ -n "$PYTHON" ]; then return; fi
  PYTHON=$OWN_PYTHON
  if ! has_venv; then PYTHON=python3; fi
}

# Whether .venv was made by another interpreter than PYTHON, if that is set.
of_another_python() {
  local identity='import sys; print(sys.base_prefix, sys.version)'
  [ -n "$PYTHON" ] && [ "$("$PYTHON" -c "$identity" 2>&1)" != "$(.venv/bin/python -c "$identity" 2>&1)" ]
}

has_venv() { "$PYTHON" -c 'import ensurepip' 2>/dev/null; }

need_venv() {
  choose_python
  if has_venv; then return; fi
  has_apt || fail "Python's venv module is missing, and there is no apt-get; install it by hand"
  root || fail "Python's venv module is missing; run: sudo lab/stack/bootstrap.sh --servers"
  say "installing python3-venv"
  apt_install python3-venv
}

make_venv() {
  need_venv
  rm -rf .venv
  quietly "$PYTHON" -m venv .venv
}

install_python_packages() {
  local wanted
  wanted=$(fingerprint)
  if [ -x .venv/bin/lab ] && [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$wanted" ] && ! of_another_python; then return; fi
  choose_python
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "Python 3.11 or newer is needed, $("$PYTHON" --version 2>&1 || true) was found; set PYTHON=/path/to/python3.11"
  say "installing Python packages into .venv"
  rm -f "$STAMP"
  # Without its interpreter, or in a moved checkout, the .venv is useless.
  if of_another_python || ! .venv/bin/python -m pip --version >/dev/null 2>&1 ||
    ! grep -qF "$PWD/.venv" .venv/bin/activate; then make_venv; fi
  quietly .venv/bin/python -m pip install --quiet --require-hashes -r requirements/bootstrap.txt
  # uv is not in dev.txt: sync takes both files, or it would remove itself. Bytecode is compiled once here: where Python
  # must not write it, a dozen processes would compile a thousand modules each at every start.
  quietly .venv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes \
    requirements/bootstrap.txt requirements/dev.txt
  quietly .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --offline \
    --editable .
  write_lab_command
  printf '%s\n' "$wanted" >"$STAMP"
}

# `lab` never ships, so the package does not declare it. -P ignores a folder `lab` in the caller's working folder.
write_lab_command() {
  printf '#!/bin/sh\nexec "$(dirname "$0")/python" -P -m lab "$@"\n' >.venv/bin/lab
  chmod 755 .venv/bin/lab
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

# The services that start at the next boot, one a line: wanted units, and scripts of the usual runlevel.
enabled() {
  {
    find "$UNITS" -path '*.wants/*' -printf 'unit %f\n' 2>/dev/null || true
    find "$RUNLEVEL" -name 'S[0-9][0-9]*' -printf 'script %f\n' 2>/dev/null | sed 's/ S[0-9]*/ /' || true
  } | sort -u
}

# Disables the services that an installation has enabled. Services that were enabled before stay enabled.
disable_all_but() {
  local before=$1 kind name
  while read -r kind name; do
    case $kind in
      unit) if command -v systemctl >/dev/null; then systemctl disable "$name" >/dev/null 2>&1; fi ;;
      script) if command -v update-rc.d >/dev/null; then update-rc.d "$name" disable >/dev/null 2>&1; fi ;;
    esac || say "$name could not be disabled: it starts at the next boot, although Waybill does not need it"
  done < <(comm -13 <(printf '%s\n' "$before") <(enabled))
}

# The packages would start system services, now and at each boot. A policy that answers 101 forbids all starts. The
# previous policy is put back, also if the installation fails.
install_without_starting() {
  local kept="" before
  before=$(enabled)
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
  disable_all_but "$before"
}

need_servers() {
  local missing=() otherwise=""
  has_prometheus || missing+=(prometheus)
  if [ -z "${AMQP_URL:-}" ] && ! has_rabbitmq && ! docker_answers; then
    missing+=(rabbitmq-server)
    otherwise=" (instead of rabbitmq-server: set AMQP_URL, or start Docker)"
  fi
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  has_apt || fail "there is no apt-get; install by hand: ${missing[*]}$otherwise"
  # sudo drops AMQP_URL, and would install a RabbitMQ that is not needed.
  root || fail "${missing[*]} missing; run: sudo ${AMQP_URL:+--preserve-env=AMQP_URL }lab/stack/bootstrap.sh --servers$otherwise"
  say "installing ${missing[*]} (no service is started, now or at a boot)"
  (install_without_starting "${missing[@]}")
  has_prometheus || fail "the package prometheus brought no prometheus and promtool into PATH"
  if [[ " ${missing[*]} " == *" rabbitmq-server "* ]] && ! has_rabbitmq; then
    fail "the package rabbitmq-server brought no server below /usr/lib/rabbitmq; set AMQP_URL"
  fi
}

main() {
  case "${1:-}" in
    "")
      need_servers
      install_python_packages
      ;;
    --servers)
      need_venv
      need_servers
      ;;
    *) fail "$1 is not an option; --servers installs the system's packages only" ;;
  esac
}

# A test sources the functions and runs none of them.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then main "$@"; fi
