# shellcheck shell=bash
# Chooses free TCP ports. Linux only: reads /proc/net. Needs common.sh.
#
# Binding to port 0 and asking would give a port of the ephemeral range, which the kernel may hand to any outgoing
# connection before the program binds it (kube-apiserver alone opens more than a hundred). So ports are taken below
# that range, only ones that no socket uses, and claimed in the cache folder so that two callers never get the same.

# Claims COUNT ports for a state folder and prints them, one a line: ports_claim STATE COUNT
ports_claim() {
  with_lock "$(cache_dir)/ports/lock" ports_claim_locked "$@"
}

# Gives back all ports of a state folder: ports_release STATE
ports_release() {
  local claim owner
  for claim in "$(cache_dir)"/ports/[0-9]*; do
    owner=$(cat "$claim" 2>/dev/null) || continue
    [ "$owner" != "$1" ] || rm -f "$claim"
  done
}

# The body of ports_claim.
ports_claim_locked() {
  local state=$1 count=$2 ephemeral_low low claims port tries=0 used
  claims=$(cache_dir)/ports
  read -r ephemeral_low _ </proc/sys/net/ipv4/ip_local_port_range 2>/dev/null || ephemeral_low=32768
  low=$((ephemeral_low - 8000))
  # A system whose ephemeral range starts very low leaves no room below it: take our chance inside.
  [ "$low" -ge 1024 ] || low=20000
  used=$(ports_in_use) || return
  while [ "$count" -gt 0 ]; do
    tries=$((tries + 1))
    [ "$tries" -le 5000 ] || die "$EXIT_UNAVAILABLE" "found no free port from $low to $((low + 7999))"
    port=$((low + RANDOM % 8000))
    case $used in *" $port "*) continue ;; esac
    ports_claim_is_stale "$claims/$port" || continue
    printf '%s\n' "$state" >"$claims/$port" || return
    printf '%s\n' "$port"
    count=$((count - 1))
  done
}

# True if a claim file does not exist, or its state folder is gone.
ports_claim_is_stale() {
  local owner
  owner=$(cat "$1" 2>/dev/null) || return 0
  [ ! -d "$owner" ]
}

# Prints the local ports of all TCP sockets, each between spaces.
ports_in_use() {
  local address port line=" "
  while read -r _ address _; do
    port=${address##*:}
    case $port in *[!0-9A-F]* | "") continue ;; esac
    line+="$((16#$port)) "
  done < <(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null)
  printf '%s\n' "$line"
}
