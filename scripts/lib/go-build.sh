# shellcheck shell=bash
# Builds programs from pinned Go modules into the cache, once. Needs common.sh.
#
# A "pin" is a folder with go.mod, go.sum and tools.go (scripts/control-plane.d/*). The cache key holds the hash of
# these files and of the build recipe, so a changed pin is built anew and the old binaries stay usable beside it.

# The oldest Go that can fetch, by itself, the newer toolchain a go.mod may ask for.
readonly GO_MINIMUM=1.21

# Prints the version of the installed Go, or nothing.
go_version() {
  have go || return 0
  GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed -n 's/^go\([0-9.]*\).*/\1/p'
}

# True if a usable Go is installed.
have_go() {
  local version
  version=$(go_version)
  [ -n "$version" ] && version_at_least "$version" "$GO_MINIMUM"
}

# Ends the script with what to install unless a usable Go is there: need_go WHAT_FOR
need_go() {
  have_go && return
  local found
  found=$(go_version)
  die "$EXIT_UNAVAILABLE" "Go $GO_MINIMUM or newer is needed to build $1 (found: ${found:-none}); install it from https://go.dev/dl/ or your distribution, and put 'go' on PATH"
}

# Prints the pinned version of a module, without "v": pinned_version PIN_DIR MODULE
pinned_version() {
  local version
  version=$(sed -n "s#^\(require \)\{0,1\}[[:space:]]*$2 v\([^ ]*\).*#\2#p" "$1/go.mod" | head -n 1)
  [ -n "$version" ] || die "$EXIT_INTERNAL" "$1/go.mod does not require $2"
  printf '%s\n' "$version"
}

# Prints the cache folder for the programs of one pin: go_build_dir NAME VERSION PIN_DIR LDFLAGS
go_build_dir() {
  local key
  key=$(printf '%s\n' "$4" | short_hash "$3/go.mod" "$3/go.sum") || return
  printf '%s/bin/%s-%s-%s\n' "$(cache_dir)" "$1" "$2" "$key"
}

# Builds programs of one pin unless the folder has them, with the build tags in GO_BUILD_TAGS if there are any: go_build PIN_DIR OUT_DIR LDFLAGS PROGRAM=PACKAGE...
go_build() {
  local out_dir=$2
  go_build_missing "$@" >/dev/null || return 0
  with_lock "$out_dir.lock" go_build_locked "$@"
}

# Prints the PROGRAM=PACKAGE arguments whose program is not there yet; false if there are none.
go_build_missing() {
  local out_dir=$2 entry missing=1
  shift 3
  for entry in "$@"; do
    [ -x "$out_dir/${entry%%=*}" ] && continue
    printf '%s\n' "$entry"
    missing=0
  done
  return "$missing"
}

# The body of go_build: another process may have built the programs while this one waited for the lock.
go_build_locked() {
  local pin_dir=$1 out_dir=$2 ldflags=$3 entry missing program started
  missing=$(go_build_missing "$@") || return 0
  mkdir -p "$out_dir" || return
  need_go "the control plane's programs" || return
  for entry in $missing; do
    program=${entry%%=*}
    started=$SECONDS
    say "building $program from Go modules (pinned in ${pin_dir#"$PWD"/}) into $out_dir"
    # -mod=readonly: what is built is what go.sum names. CGO is off so that no C library is needed at run time.
    # Built under another name first: a killed build leaves nothing that looks finished.
    (cd "$pin_dir" && CGO_ENABLED=0 GOFLAGS="" GOWORK=off GOTOOLCHAIN=auto nice -n 5 \
      go build -mod=readonly -trimpath -buildvcs=false -tags "${GO_BUILD_TAGS-}" -ldflags "$ldflags" -o "$out_dir/.$program.partial" "${entry#*=}") ||
      die "$EXIT_UNAVAILABLE" "could not build $program; if modules cannot be downloaded, check GOPROXY ($(go env GOPROXY)) and the network"
    mv "$out_dir/.$program.partial" "$out_dir/$program" || return
    say "built $program in $((SECONDS - started)) s"
  done
}
