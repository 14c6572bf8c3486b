# shellcheck shell=bash
# Starts programs in the background and makes sure that they end. Linux only: uses /proc. Needs common.sh.
#
# STATE is a folder. For each program NAME it holds commands/NAME (how to start it), pids/NAME (process id and start
# time, so that a reused id is never signalled) and logs/NAME.log. Each program is the leader of its own process
# group, and the whole group is stopped.

# Starts a program, or starts it again: process_start STATE NAME COMMAND...
process_start() {
  local state=$1 name=$2
  shift 2
  mkdir -p "$state/commands" "$state/pids" "$state/logs" || return
  printf '%q ' "$@" >"$state/commands/$name" || return
  process_restart "$state" "$name"
}

# Starts a program with the command it was last started with: process_restart STATE NAME
process_restart() {
  local state=$1 name=$2 command
  command=$(cat "$state/commands/$name" 2>/dev/null) || die "$EXIT_USAGE" "$name was never started in $state"
  if process_alive "$state" "$name"; then
    die "$EXIT_USAGE" "$name is running already in $state"
  fi
  rm -f "$state/pids/$name"
  # The child writes its own id before it becomes the program, and gives up if the folder is being stopped. As
  # process_stop_all first marks the folder and then reads the ids, one of the two always sees the other.
  # shellcheck disable=SC2016 # expanded by the inner shell
  setsid bash -c '
    state=$1 name=$2
    stat=$(cat "/proc/$$/stat"); read -r -a fields <<<"${stat##*) }"
    printf "%s %s\n" "$$" "${fields[19]}" >"$state/pids/$name.partial" &&
      mv "$state/pids/$name.partial" "$state/pids/$name"
    [ -e "$state/stopping" ] && exit 1
    eval "exec $3"
  ' process "$state" "$name" "$command" </dev/null >>"$state/logs/$name.log" 2>&1 9>&- &
  local child=$!
  until [ -e "$state/pids/$name" ]; do
    kill -0 "$child" 2>/dev/null || return 1
    sleep 0.01
  done
}

# Prints the id of a running program, or fails: process_id STATE NAME
process_id() {
  local id started
  { read -r id started <"$1/pids/$2"; } 2>/dev/null || return 1
  [ "$(process_start_time "$id")" = "$started" ] || return 1
  printf '%s\n' "$id"
}

# True if the program that was started under this name still runs: process_alive STATE NAME
process_alive() {
  process_id "$1" "$2" >/dev/null
}

# Prints when a process started (clock ticks after boot), or nothing if there is none or it is a zombie.
process_start_time() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  # The second field is the name in parentheses and may hold anything: count from its end.
  read -r -a fields <<<"${stat##*) }"
  [ "${fields[0]}" = Z ] || printf '%s\n' "${fields[19]}"
}

# Sends a signal to a program's process group: process_signal STATE NAME SIGNAL
process_signal() {
  local id
  id=$(process_id "$1" "$2") || return 0
  kill -s "$3" -- "-$id" 2>/dev/null || true
}

# Stops a program: asks first, and kills its group if it has not ended after SECONDS: process_stop STATE NAME SECONDS
process_stop() {
  local state=$1 name=$2 deadline=$((SECONDS + $3)) id
  if id=$(process_id "$state" "$name"); then
    kill -s TERM -- "-$id" 2>/dev/null || true
    while process_alive "$state" "$name"; do
      if [ "$SECONDS" -ge "$deadline" ]; then
        say "$name did not end within $3 s of SIGTERM; killing it"
        break
      fi
      sleep 0.05
    done
    # Also without a live leader: it may have left children in its group.
    kill -s KILL -- "-$id" 2>/dev/null || true
    while process_alive "$state" "$name"; do sleep 0.01; done
  fi
  rm -f "$state/pids/$name"
}

# Stops programs in the given order and lets none start meanwhile: process_stop_all STATE SECONDS NAME...
process_stop_all() {
  local state=$1 seconds=$2 name
  shift 2
  mkdir -p "$state/pids" || return
  : >"$state/stopping"
  for name in "$@"; do
    process_stop "$state" "$name" "$seconds"
  done
}

# Waits until a command succeeds while a program runs; fails with the end of its log when the program has ended or the
# time is over: process_wait_ready STATE NAME SECONDS COMMAND...
process_wait_ready() {
  local state=$1 name=$2 seconds=$3 deadline=$((SECONDS + $3))
  shift 3
  until "$@" >/dev/null 2>&1; do
    if ! process_alive "$state" "$name"; then
      process_show_log "$state" "$name"
      die "$EXIT_UNAVAILABLE" "$name ended before it was ready; its log: $state/logs/$name.log"
    fi
    if [ "$SECONDS" -ge "$deadline" ]; then
      process_show_log "$state" "$name"
      die "$EXIT_UNAVAILABLE" "$name was not ready after $seconds s; its log: $state/logs/$name.log"
    fi
    sleep 0.1
  done
}

# Shows the end of a program's log: process_show_log STATE NAME
process_show_log() {
  say "--- last lines of $1/logs/$2.log"
  tail -n 15 "$1/logs/$2.log" >&2 || true
  say "---"
}
