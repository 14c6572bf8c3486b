# shellcheck shell=bash
# The Kubernetes programs and kwok, built from the pins in scripts/control-plane.d. Needs common.sh and go-build.sh.

# Prints the folder holding kube-apiserver, kube-controller-manager, kube-scheduler and kubectl, building what is
# missing: kube_bin_dir PINS_DIR [PIN_DIR]
kube_bin_dir() {
  local pin_dir=${2:-$1/kubernetes} version out_dir ldflags
  version=$(pinned_version "$pin_dir" k8s.io/kubernetes) || return
  ldflags=$(kube_ldflags "$version") || return
  out_dir=$(go_build_dir kubernetes "$version" "$pin_dir" "$ldflags") || return
  go_build "$pin_dir" "$out_dir" "$ldflags" \
    kube-apiserver=k8s.io/kubernetes/cmd/kube-apiserver \
    kube-controller-manager=k8s.io/kubernetes/cmd/kube-controller-manager \
    kube-scheduler=k8s.io/kubernetes/cmd/kube-scheduler \
    kubectl=k8s.io/kubernetes/cmd/kubectl || return
  printf '%s\n' "$out_dir"
}

# Prints the linker flags that tell the programs their own version, as Kubernetes' own build does. Two packages hold
# it: one for /version, one for the user agent of every client.
kube_ldflags() {
  local version=$1 flags="-s -w" package
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=v$version -X $package.gitMajor=${version%%.*}"
    flags+=" -X $package.gitMinor=$(cut -d. -f2 <<<"$version") -X $package.gitCommit= -X $package.gitTreeState=archive"
  done
  printf '%s\n' "$flags"
}

# The stages (how a fake pod or node goes from one state to the next) that the control plane uses, as folders of the
# kwok module. Each is a kustomization; its file list names the stages.
readonly KWOK_STAGES="pod/general node/fast node/heartbeat-with-lease"

# Prints the folder holding kwok and stages.yaml, building what is missing: kwok_bin_dir PINS_DIR
kwok_bin_dir() {
  local pin_dir=$1/kwok version out_dir ldflags
  version=$(pinned_version "$pin_dir" sigs.k8s.io/kwok) || return
  ldflags="-s -w -X sigs.k8s.io/kwok/pkg/consts.Version=v$version"
  out_dir=$(go_build_dir kwok "$version" "$pin_dir" "$ldflags $KWOK_STAGES") || return
  go_build "$pin_dir" "$out_dir" "$ldflags" kwok=sigs.k8s.io/kwok/cmd/kwok || return
  [ -s "$out_dir/stages.yaml" ] || kwok_write_stages "$pin_dir" "$out_dir" || return
  printf '%s\n' "$out_dir"
}

# Joins the stage files of the kwok module into OUT_DIR/stages.yaml: kwok_write_stages PIN_DIR OUT_DIR
kwok_write_stages() {
  local pin_dir=$1 out_dir=$2 module_dir stage file
  module_dir=$(cd "$pin_dir" && GOFLAGS="" GOWORK=off GOTOOLCHAIN=auto go list -mod=readonly -m -f '{{.Dir}}' sigs.k8s.io/kwok) || return
  for stage in $KWOK_STAGES; do
    for file in "$module_dir/kustomize/stage/$stage"/*.yaml; do
      [ "$(basename "$file")" = kustomization.yaml ] && continue
      printf -- '---\n'
      cat "$file"
    done
  done >"$out_dir/.stages.$$.partial" || return
  mv "$out_dir/.stages.$$.partial" "$out_dir/stages.yaml"
}
