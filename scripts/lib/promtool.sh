#!/usr/bin/env bash
# Prints the path of promtool: the one on PATH, else one built before, else, with --build, one built from the Go module that
# scripts/promtool.d pins. Without --build it prints nothing when there is none. Any version is taken: that of Debian 12 (2.42, package
# prometheus) runs the tests too.
set -euo pipefail

lib_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=SCRIPTDIR/common.sh
. "$lib_dir/common.sh"
# shellcheck source=SCRIPTDIR/go-build.sh
. "$lib_dir/go-build.sh"

if have promtool; then
  command -v promtool
  exit
fi
pin_dir=$(dirname "$lib_dir")/promtool.d
ldflags="-s -w"
# Without service discoveries, whose settings it would test too: they are most of the build.
export GO_BUILD_TAGS=remove_all_sd
version=$(pinned_version "$pin_dir" github.com/prometheus/prometheus)
out_dir=$(go_build_dir promtool "$version" "$pin_dir" "$ldflags $GO_BUILD_TAGS")
[ "${1-}" != --build ] || go_build "$pin_dir" "$out_dir" "$ldflags" promtool=github.com/prometheus/prometheus/cmd/promtool
[ ! -x "$out_dir/promtool" ] || printf '%s\n' "$out_dir/promtool"
