# shellcheck shell=bash
# Several members of etcd, and several kube-apiservers each with an interceptor of its own: how they are called and
# connected. Sourced by scripts/control-plane.
#
# The first of a kind has the plain name (etcd), the others a number (etcd-2). Each kube-apiserver knows all members, and
# its interceptor has a listener for each of them.
#
# shellcheck disable=SC2154 # the ports come from the settings file

# Prints the name of one of a kind: replica KIND INDEX
replica() {
  if [ "$2" = 1 ]; then printf '%s\n' "$1"; else printf '%s-%s\n' "$1" "$2"; fi
}

# Prints which of its kind a component is, from 1: replica_index NAME
replica_index() {
  case $1 in *-[0-9]) printf '%s\n' "${1##*-}" ;; *) printf '1\n' ;; esac
}

# True if this run has the component: component_used NAME
component_used() {
  case $1 in
    etcd*) [ "$(replica_index "$1")" -le "$members" ] ;;
    interceptor*) [ -n "$interceptor_bin" ] && [ "$(replica_index "$1")" -le "$apiservers" ] ;;
    kube-apiserver*) [ "$(replica_index "$1")" -le "$apiservers" ] ;;
    recorder) [ -n "$recorder_bin" ] ;;
  esac
}

# Prints where a member listens without TLS: etcd_url INDEX
etcd_url() {
  printf 'http://127.0.0.1:%s\n' "${etcd_ports[$1 - 1]}"
}

# Prints what others call a member, over TLS if there is any: member_url INDEX
member_url() {
  if [ -n "$tls" ]; then printf 'https://127.0.0.1:%s\n' "${etcd_tls_ports[$1 - 1]}"; else etcd_url "$1"; fi
}

# Prints what FUNCTION says of each member, between commas: of_members FUNCTION ARGUMENTS...
of_members() {
  local member list=""
  for ((member = 1; member <= members; member++)); do list+=,$("$@" "$member"); done
  printf '%s\n' "${list#,}"
}

# Prints where all members listen without TLS.
etcd_urls() {
  of_members etcd_url
}

# Prints the members as each of them is told about all.
initial_cluster() {
  of_members initial_member
}

initial_member() {
  printf '%s=http://127.0.0.1:%s\n' "$(replica control-plane "$1")" "${etcd_peer_ports[$1 - 1]}"
}

# Prints where an interceptor listens for a member: interceptor_address INDEX MEMBER
interceptor_address() {
  printf '127.0.0.1:%s\n' "${interceptor_ports[($1 - 1) * 3 + $2 - 1]}"
}

interceptor_member_url() {
  printf '%s://%s\n' "$([ -n "$tls" ] && echo https || echo http)" "$(interceptor_address "$@")"
}

# Prints the URLs of all listeners of an interceptor: interceptor_urls INDEX
interceptor_urls() {
  of_members interceptor_member_url "$1"
}

# Prints what a kube-apiserver calls etcd, but for a recorder: storage_urls INDEX
storage_urls() {
  if [ -n "$interceptor_bin" ]; then interceptor_urls "$1"; else of_members member_url; fi
}

# Prints what a kube-apiserver calls etcd: recorder_or_storage_urls INDEX
recorder_or_storage_urls() {
  if [ -n "$recorder_bin" ]; then printf 'http://127.0.0.1:%s\n' "$recorder_port"; else storage_urls "$1"; fi
}

# Prints the URL of a kube-apiserver: apiserver_url INDEX
apiserver_url() {
  printf 'https://127.0.0.1:%s\n' "${apiserver_ports[$1 - 1]}"
}

# Prints the certificate of a kube-apiserver, which it signs itself: apiserver_ca INDEX
apiserver_ca() {
  printf '%s/apiserver.crt\n' "$state/$(replica apiserver-certs "$1")"
}

# Prints which kube-apiserver a client talks to: with two, both have clients that write: apiserver_of CLIENT
apiserver_of() {
  case $1 in
    kube-scheduler | kwok) printf '%s\n' "$apiservers" ;;
    *) printf '1\n' ;;
  esac
}
