# shellcheck shell=bash
# Messages, the cache folder and locks, shared by every script. Source it; it defines functions only.
#
# Progress and errors go to stderr, so that a function's stdout can be its result.

# Exit codes of the scripts, the same as those of the programs (sysexits).
# shellcheck disable=SC2034 # used by the scripts that source this
readonly EXIT_USAGE=64 EXIT_UNAVAILABLE=69 EXIT_INTERNAL=70

# Says what is being done, for a person.
say() {
  printf '%s\n' "$*" >&2
}

# Says why the script cannot go on, and ends it: die EXIT_CODE WHAT...
die() {
  local exit_code=$1
  shift
  printf 'error: %s\n' "$*" >&2
  exit "$exit_code"
}

# True if every named command is on PATH.
have() {
  command -v "$@" >/dev/null 2>&1
}

# Runs a program for a limited time, with all that it starts: limited SECONDS PROGRAM ARGUMENTS... A function or builtin of
# the shell runs without a limit. What hangs becomes a failure with a name, before whoever called this gives up on all.
limited() {
  local seconds=$1 code=0
  shift
  if [ "$(type -t "$1")" != file ]; then
    "$@"
    return
  fi
  timeout --kill-after=30 "$seconds" "$@" || code=$?
  [ $code != 124 ] || say "not at its end after $seconds s: ${*}"
  return $code
}

# Ends the script unless the command exists: need COMMAND WHAT_TO_INSTALL
need() {
  have "$1" || die "$EXIT_UNAVAILABLE" "$1 is not installed; $2"
}

# Prints the folder for everything that is built once and kept: CASCADE_CACHE, else the user's cache.
cache_dir() {
  printf '%s\n' "${CASCADE_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or CASCADE_CACHE}/.cache}/cascade}"
}

# Runs a command while holding a lock that other processes of this user wait for: with_lock FILE COMMAND...
# The lock is on the file, so it goes with the process: a killed holder leaves no stale lock.
with_lock() {
  local lock_file=$1
  shift
  need flock "install util-linux"
  mkdir -p "$(dirname "$lock_file")"
  (
    exec 9>"$lock_file"
    if ! flock -n 9; then
      say "waiting for another process that holds $lock_file"
      flock 9
    fi
    # Children must not inherit the lock: one that outlives us would hold it.
    "$@" 9>&-
  )
}

# Prints the first 12 hex digits of the SHA-256 of the files and of the text on stdin, as a cache key.
short_hash() {
  cat "$@" - | sha256sum | cut -c 1-12
}

# True if version A is at least version B, both dotted numbers: version_at_least A B
version_at_least() {
  [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# Builds a program of this checkout and prints its path: cargo_program PACKAGE PROGRAM [CARGO_ARGUMENTS...]
cargo_program() {
  local package=$1 program=$2 root path
  shift 2
  need cargo "install Rust from https://rustup.rs/"
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
  say "building $program from this checkout"
  # Cargo alone knows where the result goes (target directory, profile): it says so in its messages.
  path=$(cd "$root" && cargo build --package "$package" --bin "$program" "$@" --message-format json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1) || die "$EXIT_UNAVAILABLE" "$program could not be built"
  [ -x "$path" ] || die "$EXIT_UNAVAILABLE" "cargo built no $program"
  printf '%s\n' "$path"
}
