# Load by many clients at once, with pgbench when there is one; sourced after sessions.sh.

LOAD_SECONDS=${LOAD_SECONDS:-3}
LOAD_ROUNDS=${LOAD_ROUNDS:-3}

has_pgbench() { command -v pgbench > /dev/null && [[ $(pgbench --help) == *--max-tries* ]]; }

# load FILE CLIENTS [TRIES]: runs a script of pgbench. Sets per_second (transactions that were committed), failed (thrown out for good)
# and retried. TRIES 0: as many as it takes.
load() {
  local result
  result=$(pgbench -n -M prepared -f "$1" -c "$2" -j 2 -T "$LOAD_SECONDS" --max-tries="${3:-1}" 2> "$pipes/errors") || die "pgbench: $(tail -n 2 "$pipes/errors")"
  per_second=$(sed -n 's/^tps = \([0-9.]*\).*/\1/p' <<< "$result")
  failed=$(sed -n 's/^number of failed transactions: \([0-9]*\).*/\1/p' <<< "$result")
  retried=$(sed -n 's/^total number of retries: \([0-9]*\).*/\1/p' <<< "$result")
  failed=${failed:-0} retried=${retried:-0}
}

# calls PROCEDURE CLIENTS: the same without pgbench. The procedure loops in the server until its time is over and adds to the table
# tally what it has done. No statement travels, so the figures are not those of pgbench; the ratios tell the same.
calls() {
  local client sessions=()
  run "TRUNCATE tally"
  for ((client = 0; client < $2; client++)); do
    psql -X -q -c "CALL $1" > /dev/null 2>> "$pipes/errors" &
    sessions+=($!)
  done
  wait "${sessions[@]}" || die "psql: $(tail -n 2 "$pipes/errors")"
  per_second=$(value "SELECT sum(done)::float / $LOAD_SECONDS FROM tally")
}

# quotient OF BY: with two digits; a dash when there is nothing to divide by.
quotient() { awk -v of="$1" -v by="$2" 'BEGIN { if (by > 0) printf "%.2f", of / by; else printf "-" }'; }

# is CONDITION: of numbers, as awk reads it.
is() { awk "BEGIN { exit !($1) }"; }

# median NUMBER ...: the middle one, or the lower of the two.
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }

# paired NUMBERS BASE: how many times BASE, by the median of the rounds; what was measured minutes apart is not compared.
paired() {
  local now base round of=()
  read -ra now <<< "$1"
  read -ra base <<< "$2"
  for round in "${!now[@]}"; do of+=("$(quotient "${now[$round]}" "${base[$round]}")"); done
  median "${of[@]}"
}

# enough_connections CLIENTS: the server must have so many left.
enough_connections() {
  local left
  left=$(value "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int - count(*) FROM pg_stat_activity")
  ((left > $1 + 2)) || die "$1 clients are more than the server's max_connections leave ($left): set CLIENTS, as in CLIENTS='1 4 16'"
}

# settings: under which the figures stand.
settings() {
  value "SELECT format('   PostgreSQL %s, fsync %s, synchronous_commit %s; %s s a cell, medians of %s interleaved rounds',
    current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'), $LOAD_SECONDS, $LOAD_ROUNDS)"
}
