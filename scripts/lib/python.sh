# shellcheck shell=bash
# Python packages for checks, in a virtual environment in the cache folder. Source it, after common.sh.

# Prints a Python that has exactly these packages, installing them on the first use: python_with NAME==VERSION...
python_with() {
  local environment
  need python3 "install Python 3.9 or later"
  environment=$(cache_dir)/python/$(printf '%s\n' "$(python3 --version)" "$@" | short_hash)
  with_lock "$environment.lock" python_install "$environment" "$@" || exit
  printf '%s\n' "$environment/bin/python"
}

# Makes the environment unless it is complete: python_install FOLDER NAME==VERSION...
python_install() {
  local environment=$1
  shift
  [ ! -e "$environment/complete" ] || return 0
  say "installing $* for Python in $environment"
  rm -rf "$environment"
  python3 -m venv "$environment" >&2 ||
    die "$EXIT_UNAVAILABLE" "Python cannot make virtual environments; install its module venv (Debian: python3-venv)"
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2 ||
    die "$EXIT_UNAVAILABLE" "pip could not install $*"
  : >"$environment/complete"
}
