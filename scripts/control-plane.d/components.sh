# shellcheck shell=bash
# The parts of the control plane: how each is built, started, waited for and stopped. Sourced by scripts/control-plane,
# which sets `scripts_dir` and `state` (the state folder).
#
# Of etcd, the interceptor and kube-apiserver there may be several (`--members`, `--apiservers`); replicas.sh says how
# they are called and connected.
#
# Files of the state folder, besides those of lib/process.sh:
#   settings        the choices and ports of this run, as shell assignments
#   etcd/           etcd's data             apiserver-certs/ kcm-certs/ scheduler-certs/   self-signed certificates
#   tracing.yaml    audit-policy.yaml       of kube-apiserver, with --tracing and --audit
#   credentials/    tokens, service account key, one kubeconfig per program
#   pki/            with --tls: certificates of etcd and its clients, as kubeadm lays them out
#   trace/          what the interceptor recorded      previous/   logs and trace of the run before
#   etcd-2/ trace-2/ apiserver-certs-2/ …              those of further replicas
#
# shellcheck disable=SC2154 # the ports and folders come from the settings file

# In starting order.
readonly COMPONENTS="etcd etcd-2 etcd-3 interceptor interceptor-2 recorder kube-apiserver kube-apiserver-2 kube-controller-manager \
kube-scheduler kwok"

# Seconds a program gets to end by itself.
readonly STOP_SECONDS=60

# Ends the script unless the name is one of the components.
check_component() {
  case " $COMPONENTS " in *" $1 "*) ;; *) usage_error "unknown program '$1' (one of: $COMPONENTS)" ;; esac
}

# Sets etcd_bin, kube_bin and kwok_bin, building what is missing: components_build [KUBERNETES] [ETCD]
# Each a minor release that is pinned, or a folder with the programs; the usual release without them.
components_build() {
  local pins=$scripts_dir/control-plane.d pin
  case ${2-} in
    */*) etcd_bin=$(folder_with "$2" etcd etcdctl) || exit ;;
    *)
      pin=$(pin_of etcd "${2-}") || exit
      etcd_bin=$(etcd_pinned_bin_dir "$pins" "$pin") || exit
      ;;
  esac
  case ${1-} in
    */*) kube_bin=$(folder_with "$1" kube-apiserver kube-controller-manager kube-scheduler kubectl) || exit ;;
    *)
      pin=$(pin_of kubernetes "${1-}") || exit
      kube_bin=$(kube_bin_dir "$pins" "$pin") || exit
      ;;
  esac
  kwok_bin=$(kwok_bin_dir "$pins") || exit
}

# Prints the folder, or ends the script unless it holds the programs: folder_with FOLDER PROGRAM...
folder_with() {
  local folder=$1 program
  shift
  for program in "$@"; do
    [ -x "$folder/$program" ] || usage_error "there is no program $program in $folder"
  done
  realpath -- "$folder"
}

# Prints the folder that pins a release, the usual one without MINOR: pin_of etcd|kubernetes MINOR
pin_of() {
  local usual=$scripts_dir/control-plane.d/$1 other=$scripts_dir/version-matrix.d/$1-$2
  if [ -z "$2" ] || grep -qE "^(require)?[[:space:]]*(k8s.io/kubernetes|go.etcd.io/etcd/server/v3) v${2//./\\.}\\." "$usual/go.mod"; then
    printf '%s\n' "$usual"
  elif [ -r "$other/go.mod" ]; then
    printf '%s\n' "$other"
  else
    usage_error "there is no pin of $1 $2; scripts/version-matrix.d/pin makes one"
  fi
}

# Sets interceptor_bin: the program named by CASCADE_INTERCEPTOR, else one built from this checkout.
interceptor_build() {
  if [ -n "${CASCADE_INTERCEPTOR:-}" ]; then
    interceptor_bin=$(realpath -m -- "$CASCADE_INTERCEPTOR")
    [ -x "$interceptor_bin" ] || die "$EXIT_UNAVAILABLE" "CASCADE_INTERCEPTOR names $interceptor_bin, which is not an executable file"
    return
  fi
  interceptor_bin=$(cargo_program cascade-interceptor cascade-interceptor) || exit
}

# Starts everything, as the options say that command_up has read into its variables.
components_up() {
  local started index
  need setsid "install util-linux"
  need curl "install curl"
  need openssl "install openssl"
  components_build "$kubernetes_release" "$etcd_release"
  interceptor_bin=""
  [ -z "$through_interceptor" ] || interceptor_build
  recorder_bin=""
  if [ -n "$recording" ]; then
    recorder_bin=$(cargo_program cascade-tools cascade-tools) || exit
    recording=$(realpath -m -- "$recording")
  fi
  mkdir -p "$state" || die "$EXIT_UNAVAILABLE" "cannot create the state folder $state"
  exec 9>"$state/up.lock" || die "$EXIT_UNAVAILABLE" "cannot write in the state folder $state"
  flock -n 9 || die "$EXIT_USAGE" "another 'up' is at work in $state"
  components_any_alive && die "$EXIT_USAGE" "a control plane runs in $state already; run 'down' first, or give another --state"
  started=$SECONDS
  # From here on, whatever goes wrong or interrupts takes everything down again.
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  trap 'up_failed' EXIT
  [ -z "$etcd_data" ] || etcd_data=$(realpath -m -- "$etcd_data")
  state_prepare
  # No member is ready before most of them run.
  for ((index = 1; index <= members; index++)); do etcd_start "$index"; done
  for ((index = 1; index <= members; index++)); do component_wait_ready "$(replica etcd "$index")" "$timeout"; done
  if [ -n "$through_interceptor" ]; then
    for ((index = 1; index <= apiservers; index++)); do
      interceptor_start "$index"
      component_wait_ready "$(replica interceptor "$index")" "$timeout"
    done
  fi
  if [ -n "$recording" ]; then
    recorder_start
    component_wait_ready recorder "$timeout"
  fi
  credentials_create
  for ((index = 1; index <= apiservers; index++)); do
    apiserver_start "$index"
    component_wait_ready "$(replica kube-apiserver "$index")" "$timeout"
  done
  controller_manager_start
  scheduler_start
  kwok_start
  component_wait_ready kube-controller-manager "$timeout"
  component_wait_ready kube-scheduler "$timeout"
  component_wait_ready kwok "$timeout"
  nodes_create "$nodes" "$timeout"
  : >"$state/ready"
  trap - EXIT INT TERM HUP
  say "control plane ready in $((SECONDS - started)) s, state in $state"
}

# Stops what `up` had started and keeps its exit code. Runs on the way out, so it must not fail itself.
up_failed() {
  local exit_code=$?
  trap - EXIT
  # A second interruption must not stop the stopping.
  trap '' INT TERM HUP
  say "stopping what had been started; the logs stay in $state/logs"
  components_stop || true
  exit "$exit_code"
}

# Clears what an earlier run left, keeping its logs and traces aside, and writes the settings of this run.
state_prepare() {
  local ports left kept=()
  for left in logs trace trace-2; do [ ! -e "$state/$left" ] || kept+=("$state/$left"); done
  if [ "${#kept[@]}" -gt 0 ]; then
    rm -rf "$state/previous"
    mkdir -p "$state/previous"
    mv "${kept[@]}" "$state/previous/"
  fi
  state_clear
  rm -f "$state/stopping"
  mkdir -p "$state/logs" "$state/pids" "$state/commands"
  (umask 077 && mkdir -p "$state/credentials")
  [ -z "$tls" ] || certificates_make "$state/pki"
  mapfile -t ports < <(ports_claim "$state" 24)
  [ "${#ports[@]}" = 24 ] || exit "$EXIT_UNAVAILABLE"
  {
    printf '# Written by scripts/control-plane up.\n'
    printf '%s=%q\n' etcd_bin "$etcd_bin" kube_bin "$kube_bin" kwok_bin "$kwok_bin" interceptor_bin "$interceptor_bin" \
      recorder_bin "$recorder_bin" recording "$recording" etcd_data "${etcd_data:-$state/etcd}" fsync "$fsync" tracing "$tracing" \
      audit_level "$audit_level" tls "$tls" members "$members" apiservers "$apiservers" \
      controller_manager_port "${ports[0]}" scheduler_port "${ports[1]}" kwok_port "${ports[2]}" recorder_port "${ports[3]}" \
      otlp_port "${ports[4]}"
    # For each member, each kube-apiserver, and each pair of both.
    printf '%s=(%s)\n' etcd_ports "${ports[*]:5:3}" etcd_peer_ports "${ports[*]:8:3}" etcd_tls_ports "${ports[*]:11:3}" \
      apiserver_ports "${ports[*]:14:2}" metrics_ports "${ports[*]:16:2}" interceptor_ports "${ports[*]:18:6}"
  } >"$state/settings"
  settings_load
}

# Removes what belongs to one run only; logs and trace stay.
state_clear() {
  rm -rf "$state/etcd" "$state/etcd-2" "$state/etcd-3" "$state/pki" "$state/credentials" "$state/apiserver-certs" \
    "$state/apiserver-certs-2" "$state/kcm-certs" "$state/scheduler-certs" \
    "$state/pids" "$state/commands" "$state/settings" "$state/ready" "${state:?}/home" \
    "$state/tracing.yaml" "$state/audit-policy.yaml"
}

# Reads the settings of the run in the state folder; fails if there is none.
settings_load() {
  [ -r "$state/settings" ] || return 1
  # shellcheck source=/dev/null
  . "$state/settings"
  tls=${tls-}
  etcd_url=$(etcd_url 1)
  interceptor_url=""
  [ -z "$interceptor_bin" ] || interceptor_url=$(interceptor_urls 1)
  apiserver_url=$(apiserver_url 1)
  apiserver_ca=$(apiserver_ca 1)
  audit_log=$state/logs/audit.log
}

# Ends the script unless `up` has completed in the state folder.
need_up() {
  settings_load && [ -e "$state/ready" ] || die "$EXIT_UNAVAILABLE" "no control plane is up in $state; run: scripts/control-plane up"
}

# Starts a member: etcd_start INDEX
etcd_start() {
  local index=$1 arguments=() listen_urls peer_url data=$etcd_data
  listen_urls=$(etcd_url "$index")
  peer_url=http://127.0.0.1:${etcd_peer_ports[index - 1]}
  [ "$index" = 1 ] || data+=-$index
  [ -n "$fsync" ] || arguments+=(--unsafe-no-fsync)
  if [ -n "$tls" ]; then
    listen_urls+=,$(member_url "$index")
    arguments+=(--cert-file "$state/pki/etcd/server.crt" --key-file "$state/pki/etcd/server.key"
      --client-cert-auth --trusted-ca-file "$state/pki/etcd/ca.crt")
  fi
  say "starting $(replica etcd "$index") on $(etcd_url "$index")"
  process_start "$state" "$(replica etcd "$index")" "$etcd_bin/etcd" --name "$(replica control-plane "$index")" --data-dir "$data" \
    --listen-client-urls "$listen_urls" --advertise-client-urls "$listen_urls" \
    --listen-peer-urls "$peer_url" --initial-advertise-peer-urls "$peer_url" \
    --initial-cluster "$(initial_cluster)" "${arguments[@]}"
}

# Starts the interceptor of a kube-apiserver, with a listener for each member. The first has the ledger:
# interceptor_start INDEX
interceptor_start() {
  local index=$1 arguments=() name trace=$state/trace member
  name=$(replica interceptor "$index")
  if [ "$index" != 1 ]; then
    trace+=-$index
    arguments+=(--ledger off --instance "$name")
  fi
  for ((member = 1; member <= members; member++)); do
    arguments+=(--route "$(interceptor_address "$index" "$member")=$(member_url "$member")")
  done
  if [ -n "$tls" ]; then
    arguments+=(--cert "$state/pki/etcd/server.crt" --key "$state/pki/etcd/server.key" --client-ca "$state/pki/etcd/ca.crt"
      --client-allowed-cn kube-apiserver-etcd-client --etcd-ca "$state/pki/etcd/ca.crt"
      --etcd-cert "$state/pki/apiserver-etcd-client.crt" --etcd-key "$state/pki/apiserver-etcd-client.key")
  fi
  [ -z "$tracing" ] || arguments+=(--otlp-listen "127.0.0.1:$otlp_port")
  [ -z "$audit_level" ] || arguments+=(--audit-log "$audit_log")
  say "starting $name on $(interceptor_urls "$index"), trace in $trace"
  process_start "$state" "$name" "$interceptor_bin" serve --trace-dir "$trace" \
    --metrics-listen "127.0.0.1:${metrics_ports[index - 1]}" "${arguments[@]}"
}

# The recorder is a relay of its own, for making test data: kube-apiserver talks through it, and it keeps every byte.
recorder_start() {
  say "starting the recorder on 127.0.0.1:$recorder_port, recording in $recording"
  process_start "$state" recorder "$recorder_bin" record --listen "127.0.0.1:$recorder_port" \
    --etcd "$(storage_urls 1 | sed s,^http://,,)" --output "$recording"
}

# Starts a kube-apiserver: apiserver_start INDEX
apiserver_start() {
  local index=$1 environment=() arguments=()
  if [ -n "$tls" ]; then
    arguments+=(--etcd-cafile "$state/pki/etcd/ca.crt" --etcd-certfile "$state/pki/apiserver-etcd-client.crt"
      --etcd-keyfile "$state/pki/apiserver-etcd-client.key")
  fi
  if [ -n "$tracing" ]; then
    tracing_config >"$state/tracing.yaml"
    arguments+=(--tracing-config-file "$state/tracing.yaml")
    # Its exporter drops spans when more than 2,048 wait, which a start-up exceeds within its 5 s between two exports.
    environment+=(OTEL_BSP_MAX_QUEUE_SIZE=65536 OTEL_BSP_SCHEDULE_DELAY=1000)
  fi
  if [ -n "$audit_level" ]; then
    audit_policy >"$state/audit-policy.yaml"
    arguments+=(--audit-policy-file "$state/audit-policy.yaml" --audit-log-path "$audit_log")
  fi
  say "starting $(replica kube-apiserver "$index") on $(apiserver_url "$index")"
  # The advertised address must not be a loopback one, and guessing one fails on a machine without a network: so it is
  # one reserved for documentation (RFC 5737). The ServiceAccount admission plugin is off because pods would mount a
  # token that no kubelet asks for.
  process_start "$state" "$(replica kube-apiserver "$index")" env "${environment[@]}" "$kube_bin/kube-apiserver" \
    --etcd-servers "$(recorder_or_storage_urls "$index")" \
    --bind-address 127.0.0.1 --secure-port "${apiserver_ports[index - 1]}" --advertise-address "192.0.2.$index" \
    --cert-dir "$(dirname "$(apiserver_ca "$index")")" --service-cluster-ip-range 10.96.0.0/16 \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$state/credentials/service-account.key" \
    --service-account-signing-key-file "$state/credentials/service-account.key" \
    --token-auth-file "$state/credentials/tokens.csv" --authorization-mode RBAC \
    --disable-admission-plugins ServiceAccount --allow-privileged "${arguments[@]}"
}

# Prints kube-apiserver's tracing configuration: every request, to the interceptor.
tracing_config() {
  cat <<TRACING
apiVersion: apiserver.config.k8s.io/v1beta1
kind: TracingConfiguration
endpoint: 127.0.0.1:$otlp_port
samplingRatePerMillion: 1000000
TRACING
}

# Prints kube-apiserver's audit policy.
audit_policy() {
  cat <<POLICY
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
omitManagedFields: true
rules:
- level: Metadata
  verbs: [get, list, watch]
- level: $audit_level
POLICY
}

controller_manager_start() {
  local kubeconfig=$state/credentials/kube-controller-manager.kubeconfig
  say "starting kube-controller-manager"
  # Its default limit of 20 requests per second would queue work for many seconds and be all that a trace shows.
  # It need not look up who may call it: nobody does.
  process_start "$state" kube-controller-manager "$kube_bin/kube-controller-manager" \
    --kubeconfig "$kubeconfig" --authentication-kubeconfig "$kubeconfig" --authorization-kubeconfig "$kubeconfig" \
    --bind-address 127.0.0.1 --secure-port "$controller_manager_port" --cert-dir "$state/kcm-certs" \
    --leader-elect=false --authentication-skip-lookup --kube-api-qps 300 --kube-api-burst 400 \
    --root-ca-file "$apiserver_ca" --service-account-private-key-file "$state/credentials/service-account.key"
}

scheduler_start() {
  local kubeconfig=$state/credentials/kube-scheduler.kubeconfig
  say "starting kube-scheduler"
  # There is no flag for its request rate other than these deprecated ones; a configuration file would say the same.
  process_start "$state" kube-scheduler "$kube_bin/kube-scheduler" \
    --kubeconfig "$kubeconfig" --authentication-kubeconfig "$kubeconfig" --authorization-kubeconfig "$kubeconfig" \
    --bind-address 127.0.0.1 --secure-port "$scheduler_port" --cert-dir "$state/scheduler-certs" \
    --leader-elect=false --authentication-skip-lookup --kube-api-qps 300 --kube-api-burst 400
}

kwok_start() {
  say "starting kwok"
  # HOME: it would read and write ~/.kwok. The addresses are reserved for documentation and for private use.
  process_start "$state" kwok env HOME="$state/home" "$kwok_bin/kwok" \
    --kubeconfig "$state/credentials/kwok.kubeconfig" --config "$kwok_bin/stages.yaml" --manage-all-nodes=true \
    --node-lease-duration-seconds 40 --node-ip 192.0.2.10 --cidr 10.128.0.0/12 \
    --server-address "127.0.0.1:$kwok_port"
}

# Waits until a component says itself that it is ready: component_wait_ready NAME SECONDS
component_wait_ready() {
  settings_load || die "$EXIT_UNAVAILABLE" "no control plane is up in $state; run: scripts/control-plane up"
  process_wait_ready "$state" "$1" "$2" component_ready "$1"
}

# True if a component says that it is ready.
component_ready() {
  local index
  index=$(replica_index "$1")
  case $1 in
    # Older releases have no /readyz.
    etcd*) http_ok "$(etcd_url "$index")/health" ;;
    interceptor*) http_ok "http://127.0.0.1:${metrics_ports[index - 1]}/readyz" ;;
    recorder) http_ok "http://127.0.0.1:$recorder_port/health" ;;
    kube-apiserver*) http_ok "$(apiserver_url "$index")/readyz" --cacert "$(apiserver_ca "$index")" ;;
    kube-controller-manager)
      http_ok "https://127.0.0.1:$controller_manager_port/healthz" --cacert "$state/kcm-certs/kube-controller-manager.crt"
      ;;
    kube-scheduler)
      http_ok "https://127.0.0.1:$scheduler_port/readyz" --cacert "$state/scheduler-certs/kube-scheduler.crt"
      ;;
    kwok) http_ok "http://127.0.0.1:$kwok_port/readyz" ;;
  esac
}

# True if a GET gives status 200: http_ok URL CURL_ARGUMENTS...
http_ok() {
  # A proxy of the environment must not get between us and 127.0.0.1.
  curl --silent --fail --noproxy '*' --max-time 5 --output /dev/null "$@"
}

# Writes a token and a kubeconfig for each client, and the key that signs service account tokens.
credentials_create() {
  local dir=$state/credentials client user token
  openssl genrsa -out "$dir/service-account.key" 2048 2>/dev/null || die "$EXIT_UNAVAILABLE" "openssl could not make a key"
  (
    umask 077
    : >"$dir/tokens.csv"
    for client in admin kube-controller-manager kube-scheduler kwok; do
      case $client in admin) user=kubernetes-admin ;; *) user=system:$client ;; esac
      token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
      printf '%s,%s,%s,system:masters\n' "$token" "$user" "$client" >>"$dir/tokens.csv"
      kubeconfig_write "$client" "$token" >"$dir/$client.kubeconfig"
    done
  )
}

# Prints a kubeconfig: kubeconfig_write USER TOKEN
kubeconfig_write() {
  local index
  index=$(apiserver_of "$1")
  cat <<KUBECONFIG
apiVersion: v1
kind: Config
clusters:
- name: cascade
  cluster: {server: "$(apiserver_url "$index")", certificate-authority: "$(apiserver_ca "$index")"}
users:
- name: $1
  user: {token: "$2"}
contexts:
- name: cascade
  context: {cluster: cascade, user: $1}
current-context: cascade
KUBECONFIG
}

# Runs kubectl as the administrator of this control plane. Its discovery cache goes to the state folder.
kube() {
  KUBECONFIG=$state/credentials/admin.kubeconfig KUBECACHEDIR=$state/home/kubectl "$kube_bin/kubectl" "$@"
}

# Like kube, in place of this script, so that signals and exit codes pass.
kube_exec() {
  KUBECONFIG=$state/credentials/admin.kubeconfig KUBECACHEDIR=$state/home/kubectl exec "$kube_bin/kubectl" "$@"
}

# Creates fake nodes and waits until all are ready: nodes_create COUNT SECONDS
nodes_create() {
  local count=$1 deadline=$((SECONDS + $2)) index
  [ "$count" -gt 0 ] || return 0
  say "creating $count nodes"
  for ((index = 1; index <= count; index++)); do node_manifest "$index"; done |
    kube apply -f - >/dev/null || die "$EXIT_UNAVAILABLE" "nodes could not be created"
  # In short pieces, so that an interruption is noticed between them.
  until kube wait --for=condition=Ready nodes --all --timeout=2s >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || die "$EXIT_UNAVAILABLE" "nodes were not ready after $2 s; see $state/logs/kwok.log"
  done
}

# Prints a fake node, sized like a common real one: node_manifest INDEX
node_manifest() {
  cat <<NODE
---
apiVersion: v1
kind: Node
metadata:
  name: node-$1
  annotations: {kwok.x-k8s.io/node: fake, node.alpha.kubernetes.io/ttl: "0"}
  labels:
    kubernetes.io/hostname: node-$1
    kubernetes.io/os: linux
    kubernetes.io/arch: amd64
    topology.kubernetes.io/zone: zone-$((($1 - 1) % 3 + 1))
status:
  allocatable: {cpu: "32", memory: 256Gi, pods: "110"}
  capacity: {cpu: "32", memory: 256Gi, pods: "110"}
NODE
}

# True if anything runs in the state folder.
components_any_alive() {
  local name
  for name in $COMPONENTS; do
    process_alive "$state" "$name" && return
  done
  return 1
}

# Prints what runs; false unless all of it runs and is ready.
components_status() {
  [ $# -eq 0 ] || usage_error "status takes no arguments"
  local name id result=0
  if ! settings_load; then
    printf 'down: no control plane in %s\n' "$state"
    return 1
  fi
  for name in $COMPONENTS; do
    component_used "$name" || continue
    if ! id=$(process_id "$state" "$name"); then
      printf '%-24s down\n' "$name"
      result=1
    elif component_ready "$name"; then
      printf '%-24s ready      pid %-8s %s\n' "$name" "$id" "$(component_url "$name")"
    else
      printf '%-24s not ready  pid %-8s %s\n' "$name" "$id" "$(component_url "$name")"
      result=1
    fi
  done
  printf '%-24s %s\n' state "$state"
  [ -z "$interceptor_bin" ] || printf '%-24s %s\n' trace "$state/trace"
  return "$result"
}

# Prints the address of a component.
component_url() {
  local index
  index=$(replica_index "$1")
  case $1 in
    etcd*) printf '%s%s\n' "$(etcd_url "$index")" "${tls:+ and $(member_url "$index")}" ;;
    interceptor*) printf '%s (metrics http://127.0.0.1:%s)\n' "$(interceptor_urls "$index")" "${metrics_ports[index - 1]}" ;;
    recorder) printf 'http://127.0.0.1:%s\n' "$recorder_port" ;;
    kube-apiserver*) apiserver_url "$index" ;;
    kube-controller-manager) printf 'https://127.0.0.1:%s\n' "$controller_manager_port" ;;
    kube-scheduler) printf 'https://127.0.0.1:%s\n' "$scheduler_port" ;;
    kwok) printf 'http://127.0.0.1:%s\n' "$kwok_port" ;;
  esac
}

# Prints shell exports for whoever works with this control plane. The names do not begin with CASCADE_, because the
# programs of this repository read such variables as their flags.
components_env() {
  [ $# -eq 0 ] || usage_error "env takes no arguments"
  need_up
  printf 'export %s=%q\n' KUBECONFIG "$state/credentials/admin.kubeconfig" KUBECACHEDIR "$state/home/kubectl" \
    ETCDCTL_ENDPOINTS "$(etcd_urls)" CONTROL_PLANE_STATE "$state" CONTROL_PLANE_LOGS "$state/logs" \
    CONTROL_PLANE_ETCD_URL "$etcd_url" CONTROL_PLANE_APISERVER_URL "$apiserver_url"
  if [ "$apiservers" -gt 1 ]; then
    printf 'export %s=%q\n' CONTROL_PLANE_SECOND_APISERVER_URL "$(apiserver_url 2)" CONTROL_PLANE_SECOND_TRACE_DIR "$state/trace-2"
  fi
  if [ -n "$interceptor_bin" ]; then
    printf 'export %s=%q\n' CONTROL_PLANE_INTERCEPTOR_URL "$interceptor_url" \
      CONTROL_PLANE_METRICS_URL "http://127.0.0.1:${metrics_ports[0]}" CONTROL_PLANE_TRACE_DIR "$state/trace" \
      CONTROL_PLANE_INTERCEPTOR_BIN "$interceptor_bin"
  fi
  # shellcheck disable=SC2016 # PATH is expanded by the reader
  printf 'export PATH=%q:%q:"$PATH"\n' "$etcd_bin" "$kube_bin"
}

# Stops everything, clients before servers, and frees the ports.
components_stop() {
  local name reversed=""
  for name in $COMPONENTS; do reversed="$name $reversed"; done
  # shellcheck disable=SC2086 # a list of words
  process_stop_all "$state" "$STOP_SECONDS" $reversed
  ports_release "$state"
}

components_down() {
  [ $# -eq 0 ] || usage_error "down takes no arguments"
  if [ ! -d "$state" ]; then
    say "nothing to stop: no control plane in $state"
    return
  fi
  components_stop
  state_clear
  say "control plane stopped; logs in $state/logs$([ ! -d "$state/trace" ] || printf ', trace in %s' "$state/trace")"
}
