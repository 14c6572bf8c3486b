# shellcheck shell=bash
# Runs the workloads of the workloads folder. Sourced by scripts/control-plane after components.sh.
#
# A workload is a folder with a file `steps` and manifests; workloads/README.md describes the format.
#
# shellcheck disable=SC2154 # the folders and URLs come from scripts/control-plane and the settings file

# Seconds a step may wait for its condition, unless it says otherwise itself.
readonly STEP_TIMEOUT=180

# Keys that change by themselves on an idle cluster.
readonly RESTLESS_KEYS='^/registry/(leases|masterleases|events)/'

workload_command() {
  local name="" count="" namespace="" workloads_dir=$scripts_dir/../workloads
  while [ $# -gt 0 ]; do
    case $1 in
      --list) workload_list "$workloads_dir"; return ;;
      --count) count=$(option_value "$1" $# "${2-}") || exit; check_number "$1" "$count" 1; shift ;;
      --namespace | --prefix) namespace=$(option_value "$1" $# "${2-}") || exit; shift ;;
      -*) usage_error "unknown option for workload: $1" ;;
      *) [ -z "$name" ] || usage_error "workload takes one NAME"; name=$1 ;;
    esac
    shift
  done
  [ -n "$name" ] || usage_error "workload needs a NAME (see workload --list)"
  case $name in */*) workload_dir=$name ;; *) workload_dir=$workloads_dir/$name ;; esac
  [ -r "$workload_dir/steps" ] || usage_error "there is no workload '$name' ($workload_dir/steps cannot be read)"
  need_up
  workload_run "$count" "$namespace"
}

# Prints each workload with the first comment line of its steps.
workload_list() {
  local steps
  for steps in "$1"/*/steps; do
    printf '%-10s %s\n' "$(basename "$(dirname "$steps")")" "$(sed -n '1s/^# *//p' "$steps")"
  done
}

# Runs the steps of workload_dir, in a namespace of its own: workload_run COUNT NAMESPACE
workload_run() {
  local line number=0 index last started revision
  workload_count=$1
  workload_namespace=${2:-$(workload_free_namespace "$(basename "$(realpath -- "$workload_dir")")")}
  render_dir=$(mktemp -d)
  trap 'rm -rf "$render_dir"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  workload_started_ms=$(now_ms)
  revision=$(etcd_revision)
  kube create namespace "$workload_namespace" >/dev/null || die 1 "namespace $workload_namespace could not be created"
  say "workload $(basename "$(realpath -- "$workload_dir")") in namespace $workload_namespace, from revision $revision"
  # The file is read on its own descriptor: a step's program must not eat the rest of it.
  while read -r line <&8 || [ -n "$line" ]; do
    number=$((number + 1))
    case $line in "" | "#"*) continue ;; esac
    last=1
    case $line in *@INDEX@*) last=${workload_count:-1} ;; esac
    started=$(now_ms)
    for ((index = 1; index <= last; index++)); do
      workload_step "$(render "$index" <<<"$line")" || workload_failed "$number" "$line"
    done
    case $line in "count "* | "nodes "*) continue ;; esac
    say "$(printf '%7s s  +%6s s  %s' "$(seconds_since "$workload_started_ms")" "$(seconds_since "$started")" "$line")"
  done 8<"$workload_dir/steps"
  say "workload done in $(seconds_since "$workload_started_ms") s, revisions $revision to $(etcd_revision)"
}

# Ends the script, saying which step failed and where to look: workload_failed LINE_NUMBER LINE
workload_failed() {
  die 1 "$workload_dir/steps:$1: step failed: $2; see: scripts/control-plane kubectl get all,events -n $workload_namespace"
}

# Runs one step; its output is shown only if it fails: workload_step LINE
workload_step() {
  local words output verb
  # xargs splits into words, with quotes, and expands nothing.
  mapfile -t words < <(xargs printf '%s\n' <<<"$1")
  verb=${words[0]}
  case $verb in
    count) workload_count=${workload_count:-${words[1]}}; return ;;
    nodes) workload_need_nodes "${words[1]}"; return ;;
    settle) settle "${words[1]:-2}" "$STEP_TIMEOUT"; return ;;
  esac
  render_files || return
  case " ${words[*]} " in *" -n "* | *" --namespace="*) ;; *) words+=("--namespace=$workload_namespace") ;; esac
  case "$verb ${words[1]-} ${words[*]}" in
    *--timeout*) ;;
    wait* | "rollout status"* | delete* | drain*) words+=("--timeout=${STEP_TIMEOUT}s") ;;
  esac
  output=$(kube "${words[@]}" 2>&1 </dev/null) || {
    say "$output"
    return 1
  }
}

# Replaces each file after -f in `words` by a rendered copy: one document for each index if it mentions the index.
render_files() {
  local position file index last rendered
  for ((position = 1; position < ${#words[@]}; position++)); do
    [ "${words[position - 1]}" = -f ] || continue
    file=$workload_dir/${words[position]}
    rendered=$render_dir/$(tr / _ <<<"${words[position]}")
    [ -r "$file" ] || { say "$file cannot be read"; return 1; }
    last=1
    grep -q '@INDEX@' "$file" && last=${workload_count:-1}
    for ((index = 1; index <= last; index++)); do
      printf -- '---\n'
      render "$index" <"$file"
    done >"$rendered"
    words[position]=$rendered
  done
}

# Fills the placeholders of stdin: render INDEX
render() {
  local parity=even
  [ $(($1 % 2)) = 0 ] || parity=odd
  sed -e "s/@NAMESPACE@/$workload_namespace/g" -e "s/@INDEX@/$1/g" -e "s/@PARITY@/$parity/g"
}

# Prints the first of NAME, NAME-2, NAME-3, ... that is not a namespace: workload_free_namespace NAME
workload_free_namespace() {
  local name=$1 number=1
  while kube get namespace "$name" >/dev/null 2>&1; do
    number=$((number + 1))
    name=$1-$number
  done
  printf '%s\n' "$name"
}

# Fails unless the control plane has that many nodes: workload_need_nodes MINIMUM
workload_need_nodes() {
  local count
  count=$(kube get nodes -o name | wc -l)
  [ "$count" -ge "$1" ] || {
    say "this workload needs at least $1 nodes, there are $count (up --nodes $1)"
    return 1
  }
}

settle_command() {
  [ $# -le 1 ] || usage_error "settle takes one number of SECONDS"
  check_number settle "${1:-2}" 1
  need_up
  settle "${1:-2}" "$STEP_TIMEOUT" || exit 1
}

# Waits until no key but leases and events was written or deleted for some seconds: settle QUIET_SECONDS MAX_SECONDS
settle() {
  local quiet_ms=$(($1 * 1000)) deadline=$((SECONDS + $2)) before="" now since
  since=$(now_ms)
  while [ $(($(now_ms) - since)) -lt "$quiet_ms" ]; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      say "still changing after $2 s"
      return 1
    fi
    now=$(store_fingerprint) || return
    [ "$now" = "$before" ] || since=$(now_ms)
    before=$now
    sleep 0.2
  done
}

# Prints something that differs whenever a key other than a restless one was written or deleted. Asks etcd itself, not
# through the interceptor: this is not part of the traffic that is observed.
store_fingerprint() {
  etcdctl get / --prefix --keys-only --write-out fields |
    awk -F' : ' -v restless="$RESTLESS_KEYS" '
      $1 == "\"Key\"" { key = $2; gsub(/"/, "", key) }
      $1 == "\"ModRevision\"" && key !~ restless { count++; if ($2 > newest) newest = $2 }
      END { print count, newest }'
}

# Prints etcd's current revision: that of the member that knows most, as others may be down or behind.
etcd_revision() {
  { etcdctl endpoint status --write-out fields || true; } | sed -n 's/^"Revision" : //p' | sort -n | tail -n 1
}

etcdctl() {
  # Flag and variable together are refused by etcdctl, and `env` exports the variable.
  env -u ETCDCTL_ENDPOINTS "$etcd_bin/etcdctl" --endpoints "$(etcd_urls)" "$@"
}

# Milliseconds of the wall clock.
now_ms() {
  local now=${EPOCHREALTIME/[.,]/}
  printf '%s\n' "${now%???}"
}

# Prints the seconds since a time in milliseconds, with one decimal.
seconds_since() {
  local elapsed=$(($(now_ms) - $1))
  printf '%d.%d\n' $((elapsed / 1000)) $((elapsed % 1000 / 100))
}
