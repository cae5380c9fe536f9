#!/usr/bin/env bash
# Create .venv, install requirements.lock and this package into it, and see to graphviz and Chromium.
# Safe to run again: what is there stays. `make` runs it when the lock or this file is newer than .venv/.ready.
#
#   PYTHON=python3.12       the interpreter to build on (otherwise the first fitting one is taken)
#   NNAPI_LAB_NO_APT=1      as root: do not install system packages, only name them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
log=build/setup.log
mkdir -p build

say() { printf 'setup: %s\n' "$*"; }
die() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

# --- system packages -------------------------------------------------------------------------------------------
may_apt() { [ "$(id -u)" = 0 ] && [ -z "${NNAPI_LAB_NO_APT:-}" ] && command -v apt-get >/dev/null; }

apt_updated=
apt_install() { # PACKAGE... ; false when that did not work
  if [ -z "$apt_updated" ]; then
    apt-get -q -o Acquire::Retries=3 update >>"$log" 2>&1 </dev/null || say "apt-get update failed; trying with what is known"
    apt_updated=yes
  fi
  say "installing $* (apt)"
  DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 \
    install --no-install-recommends "$@" >>"$log" 2>&1 </dev/null
}

has_any() {
  local name
  for name in "$@"; do command -v "$name" >/dev/null && return 0; done
  return 1
}

has_library() { # NAME; true also where there is no ldconfig to ask
  local ldconfig
  ldconfig=$(PATH=$PATH:/usr/sbin:/sbin command -v ldconfig) || return 0
  "$ldconfig" -p | grep -F "$1" >/dev/null
}

want() { # PACKAGE, WHAT_IS_LOST, TEST...: see to it that TEST holds
  local package=$1 lost=$2
  shift 2
  "$@" && return 0
  if may_apt && apt_install "$package"; then return 0; fi
  say "$package is not installed: $lost." \
    "To get it, as root: apt-get install $package (conda: see environment.yml). Going on without it."
}

# --- Python ----------------------------------------------------------------------------------------------------
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }
can_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

find_python() {
  local name
  for name in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if fits "$name"; then
      printf '%s' "$name"
      return 0
    fi
  done
  return 1
}

choose_python() { # sets $python; dies with what to do
  if ! has_any python3 "${PYTHON:-python3}" && may_apt; then apt_install python3 python3-venv || true; fi
  python=$(find_python) || die \
    "Python 3.11, 3.12 or 3.13 is needed; ${PYTHON:-python3} is $("${PYTHON:-python3}" -V 2>/dev/null || echo 'not there')." \
    "Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name it: make test PYTHON=/path/to/python3.12"
  can_venv "$python" && return 0
  local package
  package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  if may_apt && apt_install "$package" && can_venv "$python"; then return 0; fi
  die "$python cannot create virtual environments: its venv module is not installed." \
    "As root: apt-get install $package (or: apt-get install python3-venv)"
}

make_venv() {
  if [ -e "$venv" ] && ! { fits "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }; then
    say "$venv is half built or made by another Python; building it anew"
    rm -rf "$venv"
  fi
  [ -e "$venv" ] || "$python" -m venv "$venv" >>"$log" 2>&1 || die "could not create $venv; see $log"
}

pip_install() { # ARGUMENTS... ; dies after three attempts
  local attempt
  for attempt in 1 2 3; do
    if "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --retries 10 --timeout 120 \
      --progress-bar off "$@" >>"$log" 2>&1 </dev/null; then
      return 0
    fi
    say "pip did not succeed (attempt $attempt of 3)"
    sleep "${NNAPI_LAB_RETRY_SECONDS:-10}"
  done
  tail -n 20 "$log" | grep -v '^WARNING' >&2 || true
  die "pip could not install: $*" "The whole log is in $log. Run the same command again to resume."
}

# The first start of JupyterLab would ask whether to fetch news from the network.
quiet_jupyterlab() {
  local settings=$venv/etc/jupyter/labconfig
  mkdir -p "$settings"
  printf '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}\n' >"$settings/page_config.json"
}

: >"$log"
choose_python
want graphviz "graphs are drawn with the built-in layout" has_any dot
want chromium "browser tests are skipped (under CI=true they fail)" has_any chromium chromium-browser google-chrome
want libatomic1 "Playwright, which drives the browser tests, does not start" has_library libatomic.so.1
make_venv
say "installing $(grep -c '==' requirements.lock) packages into $venv (a few minutes the first time)"
pip_install --only-binary=:all: -r requirements.lock
pip_install --no-deps --no-build-isolation -e .
quiet_jupyterlab
touch "$venv/.ready"
say "ready: $("$venv/bin/python" -V) in $venv"
