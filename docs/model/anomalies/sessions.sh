# Two customers at two psql sessions, played in a fixed order; sourced by the scripts beside it.
#
# The connection is psql's own business: PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE. The role must be allowed to create a schema
# there. Each script makes a schema of its own, anomaly_*, and drops it at the end, also when it fails.
#
# A statement is sent and its answer read up to a marker, so that the order is that of the script; nothing sleeps. Only who waits for a
# lock is found by asking the server again and again, at most WAIT_SECONDS.
set -euo pipefail

WAIT_SECONDS=${WAIT_SECONDS:-20}
PSQL=(psql -X -A -t -F ' | ' -v VERBOSITY=default -v SHOW_CONTEXT=never)
declare -A to from pid server_pid state
indent=

die() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
say() { printf '\n# %s\n' "$*"; }
command -v psql > /dev/null || die "psql is missing: apt-get install postgresql-client (or your system's name for it)"

# begin SCHEMA: an empty schema for this script, a folder for its pipes, and their end.
begin() {
  schema=$1
  pipes=$(mktemp -d)
  trap finish EXIT
  export PGOPTIONS="-c search_path=$schema -c client_min_messages=warning -c lc_messages=C ${PGOPTIONS:-}"
  psql -X -q -c 'SELECT 1' > /dev/null 2>&1 || export PGOPTIONS=${PGOPTIONS/-c lc_messages=C /}   # only a superuser may set it
  run "DROP SCHEMA IF EXISTS $schema CASCADE; CREATE SCHEMA $schema;" || die "no schema can be made here: set PGHOST, PGUSER, PGDATABASE"
  printf '== %s, PostgreSQL %s\n' "$schema" "$(value 'SHOW server_version')"
}

finish() {
  local status=$? session
  trap - EXIT
  for session in "${!pid[@]}"; do kill "${pid[$session]}" 2> /dev/null || true; done
  psql -X -q -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '$schema/%'" > /dev/null 2>&1 || true
  psql -X -q -c "DROP SCHEMA IF EXISTS $schema CASCADE" > /dev/null 2>&1 || true
  rm -rf "$pipes"
  exit "$status"
}

# run SQL: quietly, on a connection of its own. value SQL: its one value.
run() { psql -X -q -v ON_ERROR_STOP=1 -c "$1" > /dev/null; }
value() { psql -X -q -A -t -v ON_ERROR_STOP=1 -c "$1"; }
show() { printf '%s\n' "$1" | sed 's/^/   /'; psql -X -P footer=off -c "$1" | sed '/^$/d; s/^/   /'; }

# open SESSION ...: psql sessions that stay open; A stands left, B to its right.
open() {
  local session in out
  for session in "$@"; do
    mkfifo "$pipes/$session.in" "$pipes/$session.out"
    PGAPPNAME="$schema/$session" "${PSQL[@]}" < "$pipes/$session.in" > "$pipes/$session.out" 2>&1 &
    pid[$session]=$!
    exec {in}> "$pipes/$session.in" {out}< "$pipes/$session.out"
    to[$session]=$in from[$session]=$out
    printf 'SELECT pg_backend_pid();\n\\warn :end :SQLSTATE\n' >&"$in"
    listen "$session"
    server_pid[$session]=$answer
  done
}

# listen SESSION: reads up to the marker. Sets answer, and state[SESSION] to the SQLSTATE of the last statement (00000: done).
listen() {
  local line
  answer=
  while IFS= read -r -t "$WAIT_SECONDS" -u "${from[$1]}" line; do
    case $line in
      ':end '*) state[$1]=${line#:end }; answer=${answer%$'\n'}; return ;;
      *) answer+=$line$'\n' ;;
    esac
  done
  die "session $1 gave no answer within $WAIT_SECONDS s"
}

column() { case $1 in A) indent= ;; *) indent='                                    ' ;; esac; }

# send SESSION SQL: does not wait for the answer.
send() {
  column "$1"
  printf '%s%s: %s\n' "$indent" "$1" "$2"
  printf '%s;\n\\warn :end :SQLSTATE\n' "$2" >&"${to[$1]}"
}

# hear SESSION: the answer to what was sent.
hear() {
  listen "$1"
  column "$1"
  [ -z "$answer" ] || printf '%s\n' "$answer" | sed "s/^/$indent   -> /"
  [ "${state[$1]}" = 00000 ] || printf '%s      (SQLSTATE %s)\n' "$indent" "${state[$1]}"
}

# tell SESSION SQL: sends, and waits for the answer.
tell() { send "$1" "$2"; hear "$1"; }

# waits SESSION: returns when the session stands before a lock that another one has.
waits() {
  local deadline=$((SECONDS + WAIT_SECONDS))
  until [ "$(value "SELECT cardinality(pg_blocking_pids(${server_pid[$1]})) > 0")" = t ]; do
    ((SECONDS < deadline)) || die "session $1 was expected to wait for a lock, and does not"
  done
  column "$1"
  printf '%s   .. waits for a lock\n' "$indent"
}

# proves WHAT SQL: the assertion. SQL gives true when the anomaly has happened.
proves() {
  if [ "$(value "SELECT ($2)")" = t ]; then
    printf 'SHOWN: %s\n' "$1"
  else
    die "did not happen: $1"
  fi
}

# ended SESSION SQLSTATE: what the last statement of the session must have ended in.
ended() { [ "${state[$1]}" = "$2" ] || die "session $1 ended in SQLSTATE ${state[$1]}, not $2"; }
