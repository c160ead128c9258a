#!/usr/bin/env bash
# Starts Motive from a checkout, and makes the Python environment that it needs in .venv; ./run.sh help tells the rest.
# Kept to what bash 3.2 (macOS) can do.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"
set -euo pipefail

# What an app that ./run.sh exec starts is to have after all.
KEPT=()
if [ -n "${PYTHONPATH:-}" ]; then KEPT+=("PYTHONPATH=$PYTHONPATH"); fi
if [ -n "${PYTHONHOME:-}" ]; then KEPT+=("PYTHONHOME=$PYTHONHOME"); fi
# Each of these makes an interpreter look for modules, or a `cd` for folders, somewhere else than we mean.
unset PYTHONHOME PYTHONPATH __PYVENV_LAUNCHER__ CDPATH

here=${BASH_SOURCE[0]}
while [ -L "$here" ]; do
  folder=$(cd -P "$(dirname "$here")" && pwd)
  here=$(readlink "$here")
  case $here in
    /*) ;;
    *) here=$folder/$here ;;
  esac
done
ROOT=$(cd -P "$(dirname "$here")" && pwd)
readonly ROOT
readonly VENV=$ROOT/.venv
# Says what the environment holds: "python X.Y", a line "LOCK FINGERPRINT" for each lock that was installed in full, and
# "unfinished" from before an install until after it. What it does not say is not there, whatever the folder looks like.
readonly STAMP=$VENV/.motive-stamp
readonly RUN_LOCK=requirements.lock
# Holds every pin of RUN_LOCK too.
readonly DEV_LOCK=requirements-dev.lock
readonly NO_PYTHON_STATUS=3
readonly NEWLINE=$'\n'

usage() {
  cat <<'TEXT'
Usage: ./run.sh [COMMAND] [OPTIONS] [-- MITMPROXY ARGUMENTS]

  run      start mitmdump with Motive: a forward proxy and the meeting point (default)
  web      the same under mitmweb
  tui      the same under mitmproxy's terminal interface
  mock     start a model that is none, on port 8888, for apps that take a base URL
  exec     start an unmodified app behind the forward proxy: ./run.sh exec -- python app.py
  env      print what sets a shell up for such apps: eval "$(./run.sh env)"
  doctor   look for what is wrong, and say what to do
  demo     show a paired conversation of two scripted clients
  setup    only make the environment, in .venv
  test     make the environment and run the whole test suite; arguments go to pytest
  bench    run the benchmarks
  help     show this text

Options of run, web and tui, each with the environment variable and the line of the configuration file that it overrides:

  --host HOST           address that both listeners bind (127.0.0.1)
                        MOTIVE_PROXY_HOST, proxy.host
  --port PORT           the meeting point, where an app points its base URL (8000); 0 takes a free one
                        MOTIVE_PROXY_PORT, proxy.port
  --forward-port PORT   the forward proxy, where HTTPS_PROXY points (8080); 0 takes a free one
                        MOTIVE_PROXY_FORWARD_PORT, proxy.forward_port
  --config FILE         configuration file (config.yaml beside run.sh)

The options of mock, exec, env and doctor are shown by ./run.sh COMMAND --help. In the environment that it makes, all of
them are commands of .venv/bin/motive, too.

MOTIVE_PYTHON=/path/to/python chooses the interpreter that the environment is made with.
TEXT
}

say() {
  printf '%s\n' "$*" >&2
}

die() {
  say "run.sh: $*"
  exit 1
}

# --- the interpreter -------------------------------------------------------------------------------------------------

# Ends with 0 and "VERSION PATH", or with another status and a reason. Must not be a syntax error even for Python 2. The
# path is that of the installation, so that a pyenv shim or an activated environment may vanish later.
# shellcheck disable=SC2016
readonly PROBE='
import sys
version = "%d.%d.%d" % tuple(sys.version_info[:3])
def refuse(why):
    sys.stdout.write("Python %s: %s\n" % (version, why))
    sys.exit(1)
if sys.version_info < (3, 12):
    refuse("too old")
if sys.version_info >= (3, 15):
    refuse("newer than what mitmproxy supports")
if sys.version_info[3] != "final":
    refuse("not a final release")
if sys.implementation.name != "cpython":
    refuse("%s, but mitmproxy needs CPython" % sys.implementation.name)
import sysconfig
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    refuse("a free-threaded build, which not all dependencies support")
for module in ("ssl", "zlib", "venv"):
    try:
        __import__(module)
    except ImportError:
        refuse("built without the module %s" % module)
try:
    import ensurepip
except ImportError:
    refuse("without ensurepip; on Debian and Ubuntu: sudo apt install python3-venv (or python%d.%d-venv)" % sys.version_info[:2])
sys.stdout.write("%s %s\n" % (version, getattr(sys, "_base_executable", None) or sys.executable))
'

PYTHON=
PYTHON_VERSION=
REFUSED=

# consider CANDIDATE: sets PYTHON and PYTHON_VERSION if it works, else adds the reason to REFUSED.
consider() {
  local answer
  if answer=$("$1" -c "$PROBE" </dev/null 2>&1); then
    # Only the last line is ours: a wrapper may have said something before.
    answer=${answer##*"$NEWLINE"}
    PYTHON_VERSION=${answer%% *}
    PYTHON=${answer#* }
    return 0
  fi
  answer=${answer#"$NEWLINE"}
  REFUSED="$REFUSED  $1: ${answer%%"$NEWLINE"*}$NEWLINE"
  return 1
}

consider_path() {
  local name path
  for name in python3.13 python3.12 python3.14 python3 python; do
    while IFS= read -r path; do
      if [ -n "$path" ] && consider "$path"; then return 0; fi
    done <<<"$(type -aP "$name")"
  done
  return 1
}

# The folders that may be pyenv's own: the one that it is told to use, the usual one, and those whose shims are on PATH.
pyenv_roots() {
  local entry
  printf '%s\n' "${PYENV_ROOT:-}" "${HOME:-}/.pyenv"
  while IFS= read -r entry; do
    case $entry in */shims) printf '%s\n' "${entry%/shims}" ;; esac
  done <<<"${PATH//:/$NEWLINE}"
}

consider_pyenv() {
  local root
  while IFS= read -r root; do
    if [ -n "$root" ] && consider_pyenv_root "$root"; then return 0; fi
  done <<<"$(pyenv_roots)"
  return 1
}

consider_pyenv_root() {
  local versions=$1/versions minor folder name
  for minor in 3.13 3.12 3.14; do
    while IFS= read -r name; do
      folder=$versions/$name
      if [ -x "$folder/bin/python" ] && consider "$folder/bin/python"; then return 0; fi
    done <<<"$(for folder in "$versions/$minor".*; do printf '%s\n' "${folder##*/}"; done | sort -t. -k3,3nr)"
  done
  return 1
}

consider_uv() {
  local uv path version
  # Right after its own installer has run, uv is not on the PATH of the shell that ran it.
  for uv in "$(type -P uv || true)" "${HOME:-}/.local/bin/uv" "${HOME:-}/.cargo/bin/uv"; do
    if [ -n "$uv" ] && [ -x "$uv" ]; then break; fi
    uv=
  done
  if [ -z "$uv" ]; then return 1; fi
  for version in 3.13 3.12 3.14; do
    if path=$("$uv" python find "$version" 2>/dev/null </dev/null) && consider "$path"; then return 0; fi
  done
  say "      no suitable Python on this machine, asking uv to install 3.13"
  if "$uv" python install 3.13 >&2 </dev/null && path=$("$uv" python find 3.13 </dev/null) && consider "$path"; then
    return 0
  fi
  REFUSED="$REFUSED  $uv: could not install Python 3.13$NEWLINE"
  return 1
}

find_python() {
  if [ -n "${MOTIVE_PYTHON:-}" ]; then
    if consider "$MOTIVE_PYTHON"; then return 0; fi
    say "run.sh: MOTIVE_PYTHON is not a Python that Motive can use:"
    say "${REFUSED%"$NEWLINE"}"
    exit "$NO_PYTHON_STATUS"
  fi
  if consider_path || consider_pyenv || consider_uv; then return 0; fi
  say "run.sh: found no Python that Motive can use. It needs 3.12, 3.13 or 3.14, with venv and ensurepip."
  if [ -n "$REFUSED" ]; then
    say "Tried:"
    say "${REFUSED%"$NEWLINE"}"
  fi
  cat >&2 <<'TEXT'
Install one, then start run.sh again:
  Debian 13, Ubuntu 24.04 or later   sudo apt install python3 python3-venv
  Fedora                             sudo dnf install python3.13
  macOS with Homebrew                brew install python@3.13
  pyenv                              pyenv install 3.13
  any other system, through uv       curl -LsSf https://astral.sh/uv/install.sh | sh
Or name one that is elsewhere: MOTIVE_PYTHON=/path/to/python3.13 ./run.sh
TEXT
  exit "$NO_PYTHON_STATUS"
}

# --- the environment -------------------------------------------------------------------------------------------------

fingerprint() {
  cksum <"$ROOT/$1"
}

stamped() {
  grep -qxF "$1" "$STAMP" 2>/dev/null
}

# Prints "python X.Y" of the environment, by running it: an upgrade of the system may have taken its base away.
environment_python() {
  "$VENV/bin/python" -c 'import sys; print("python %d.%d" % sys.version_info[:2])' 2>/dev/null </dev/null
}

python_is_good() {
  local python
  if ! python=$(environment_python) || ! stamped "$python"; then return 1; fi
  if [ -z "${MOTIVE_PYTHON:-}" ]; then return 0; fi
  if [ -z "$PYTHON" ]; then find_python; fi
  [ "python ${PYTHON_VERSION%.*}" = "$python" ]
}

# is_ready LOCK
is_ready() {
  stamped "$1 $(fingerprint "$1")" && python_is_good
}

# write_stamp LINE...: in one step, so that no reader sees half of it.
write_stamp() {
  printf '%s\n' "$@" >"$STAMP.new"
  mv -f "$STAMP.new" "$STAMP"
}

# lock_environment PYTHON: waits until no other run.sh works on the environment. The kernel holds this lock for the open
# file, so it outlives the Python that takes it, covers a pip that survives us, and no process that died leaves it behind.
# The file is opened for writing too because NFS wants that; it is not this script, as no second run.sh could be executed.
lock_environment() {
  exec 9<>"$ROOT/$RUN_LOCK"
  "$1" -c '
import fcntl, sys
try:
    fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.stderr.write("      another run.sh is making the environment; waiting for it\n")
    fcntl.flock(9, fcntl.LOCK_EX)
except OSError:
    pass  # a file system without locks: better to go on than to refuse
'
}

unlock_environment() {
  exec 9>&-
}

new_environment() {
  local kept
  if [ -e "$STAMP" ] || [ -L "$VENV" ]; then
    rm -rf "$VENV"
  elif [ -d "$VENV" ] && [ -n "$(ls -A "$VENV")" ]; then
    kept=$VENV.replaced-$(date +%Y%m%d-%H%M%S)
    mv "$VENV" "$kept"
    say "      .venv was not made by run.sh; it is now $kept"
  fi
  mkdir -p "$VENV"
  : >"$STAMP"
  if ! "$PYTHON" -m venv "$VENV" >&2 </dev/null; then
    die "could not make the environment (see above) with $PYTHON; MOTIVE_PYTHON=/path/to/python chooses another"
  fi
}

# install LOCK
install() {
  local lock=$1 python before kept=() flags=() log=$VENV/.motive-install.log
  if python_is_good; then
    say "[2/3] Updating the environment in .venv"
    python=$(environment_python)
    before=$(cat "$STAMP")
    if stamped unfinished; then
      # What was half installed looks installed to pip.
      flags=(--ignore-installed)
    elif [ "$lock" = "$DEV_LOCK" ] && stamped "$RUN_LOCK $(fingerprint "$RUN_LOCK")"; then
      # These pins are met and stay as they are while the rest of DEV_LOCK comes in, or fails to.
      kept=("$RUN_LOCK $(fingerprint "$RUN_LOCK")")
    fi
  else
    if [ -z "$PYTHON" ]; then find_python; fi
    say "[2/3] Making the environment in .venv"
    new_environment
    python=$(environment_python) || die "the environment that $PYTHON made in .venv does not run"
    before=$python
  fi

  say "[3/3] Installing the dependencies of $lock; the first time takes a minute or so"
  write_stamp "$python" ${kept[@]+"${kept[@]}"} unfinished
  # Without the settings of the user that would install somewhere else.
  if ! env -u PIP_TARGET -u PIP_PREFIX -u PIP_ROOT PIP_USER=0 "$VENV/bin/python" -m pip install \
    --disable-pip-version-check --no-input --progress-bar off ${flags[@]+"${flags[@]}"} \
    --require-hashes -r "$ROOT/$lock" >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    # Up to this line pip has only looked and downloaded, so without a network nothing that worked is lost.
    if ! grep -q '^Installing collected packages' "$log"; then write_stamp "$before"; fi
    die "could not install the dependencies (see above); the next start tries again"
  fi
  rm -f "$log"
  if [ "$lock" = "$DEV_LOCK" ]; then
    write_stamp "$python" "$RUN_LOCK $(fingerprint "$RUN_LOCK")" "$DEV_LOCK $(fingerprint "$DEV_LOCK")"
  else
    write_stamp "$python" "$RUN_LOCK $(fingerprint "$RUN_LOCK")"
  fi
}

# ensure_environment LOCK: nothing to do takes milliseconds and no network.
ensure_environment() {
  if is_ready "$1"; then
    ensure_motive
    return 0
  fi
  case $ROOT in
    *:*) die "Python cannot make an environment in a folder with ':' in its path: $ROOT" ;;
  esac
  if ! [ -f "$ROOT/$RUN_LOCK" ] || ! [ -f "$ROOT/$1" ]; then die "$1 is missing: is this a whole checkout?"; fi
  if python_is_good; then
    say "[1/3] Using the Python of .venv"
    lock_environment "$VENV/bin/python"
  else
    if [ -z "$PYTHON" ]; then find_python; fi
    say "[1/3] Using Python $PYTHON_VERSION ($PYTHON)"
    lock_environment "$PYTHON"
  fi
  if ! is_ready "$1"; then install "$1"; fi
  ensure_motive
  unlock_environment
}

# --- the commands ----------------------------------------------------------------------------------------------------

# become_motive COMMAND ARGUMENT...: -I keeps everything from the interpreter that the user has for others.
become_motive() {
  exec env ${KEPT[@]+"${KEPT[@]}"} "$VENV/bin/python" -I "$ROOT/motive_core/__main__.py" "$@"
}

# Makes .venv/bin/motive, for who activates the environment; anew where the checkout has been moved.
ensure_motive() {
  local text
  text="#!/usr/bin/env bash
exec $(printf '%q' "$VENV/bin/python") -I $(printf '%q' "$ROOT/motive_core/__main__.py") \"\$@\""
  if [ "$(cat "$VENV/bin/motive" 2>/dev/null)" = "$text" ]; then return 0; fi
  # Where the environment cannot be written, there is run.sh.
  (umask 022 && printf '%s\n' "$text" >"$VENV/bin/motive.$$" && chmod 755 "$VENV/bin/motive.$$" \
    && mv -f "$VENV/bin/motive.$$" "$VENV/bin/motive") 2>/dev/null || true
}

# -P keeps what lies in the current folder from shadowing a module. Without PYTHONUNBUFFERED, who reads the output from a
# pipe or a file would see the addresses when the proxy ends.
motive() {
  exec env PYTHONUNBUFFERED=1 PYTHONPATH="$ROOT/addons:$ROOT" "$VENV/bin/python" -P -m "$@"
}

FAILED=

# gate NAME MODULE ARGUMENT...: a failed check does not keep the next from being run.
gate() {
  local name=$1
  shift
  say "== $name"
  if ! "$VENV/bin/python" -P -m "$@"; then FAILED="$FAILED, $name"; fi
}

run_tests() {
  cd "$ROOT"
  gate "ruff check" ruff check .
  gate "ruff format" ruff format --check .
  gate "mypy" mypy
  # Last of all comes pytest's own summary line, so this is said before.
  if [ -n "$FAILED" ]; then say "run.sh: FAILED: ${FAILED#, }"; fi
  say "== pytest"
  local pytest=("$VENV/bin/python" -P -m pytest -n auto --maxprocesses 4 "$@")
  # In our place, so that it gets the signals that are sent to us.
  if [ -z "$FAILED" ]; then exec "${pytest[@]}"; fi
  "${pytest[@]}" || exit
  exit 1
}

command=run
case ${1:-} in
  '' | -*) ;;
  *)
    command=$1
    shift
    ;;
esac
case ${1:-} in
  -h | --help) if [ "$command" = run ]; then command=help; fi ;;
esac

case $command in
  run | web | tui | mock | exec | env | doctor | converse)
    ensure_environment "$RUN_LOCK"
    become_motive "$command" "$@"
    ;;
  demo)
    ensure_environment "$RUN_LOCK"
    motive motive_shell.demo "$@"
    ;;
  bench)
    ensure_environment "$DEV_LOCK"
    motive bench "$@"
    ;;
  setup)
    ensure_environment "$RUN_LOCK"
    say "The environment in .venv is ready ($(environment_python))."
    ;;
  test)
    ensure_environment "$DEV_LOCK"
    run_tests "$@"
    ;;
  help)
    usage
    ;;
  *)
    say "run.sh: there is no command '$command'"
    usage >&2
    exit 2
    ;;
esac
