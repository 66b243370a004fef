#!/usr/bin/env bash
# Hot row: everybody wants the same inventory. Its row is locked from the UPDATE until the commit is on disk, so commits go one by one.
source "$(dirname "$(readlink -f "$0")")/sessions.sh"
source "$(dirname "$(readlink -f "$0")")/load.sh"
begin anomaly_hot_row
CLIENTS=${CLIENTS:-1 4 16 64}
enough_connections "${CLIENTS##* }"

run "
CREATE TABLE inventory (id int PRIMARY KEY, remaining int NOT NULL);
CREATE TABLE booking (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, inventory int NOT NULL, customer text NOT NULL);
CREATE UNLOGGED TABLE tally (done bigint NOT NULL);
INSERT INTO inventory SELECT n, 1000000000 FROM generate_series(1, 1000) n;
CREATE PROCEDURE book(inventories int, seconds float) LANGUAGE plpgsql AS \$\$
DECLARE until timestamptz := clock_timestamp() + make_interval(secs => seconds); chosen int; done bigint := 0;
BEGIN
  WHILE clock_timestamp() < until LOOP
    chosen := 1 + floor(random() * inventories);
    UPDATE inventory SET remaining = remaining - 1 WHERE id = chosen AND remaining > 0;
    INSERT INTO booking (inventory, customer) VALUES (chosen, 'somebody');
    COMMIT;
    done := done + 1;
  END LOOP;
  INSERT INTO tally VALUES (done);
END \$\$;"

for inventories in 1 1000; do
  cat > "$pipes/$inventories.sql" << SQL
\\set id random(1, $inventories)
BEGIN;
UPDATE inventory SET remaining = remaining - 1 WHERE id = :id AND remaining > 0;
INSERT INTO booking (inventory, customer) VALUES (:id, 'somebody');
COMMIT;
SQL
done
# book INVENTORIES CLIENTS
book() { if has_pgbench; then load "$pipes/$1.sql" "$2"; else calls "book($1, $LOAD_SECONDS)" "$2"; fi; }

say "Bookings a second: conditional UPDATE and INSERT in one transaction, on one inventory and on a random one of 1,000."
settings
declare -A figures
for ((round = 0; round < LOAD_ROUNDS; round++)); do
  for clients in $CLIENTS; do
    for inventories in 1 1000; do
      book "$inventories" "$clients"
      figures[$inventories/$clients]+=" $per_second"
    done
  done
done
printf '   %8s | %10s %17s | %10s %17s | %s\n' clients "one row" "of its first line" "1,000 rows" "of its first line" "one row of 1,000 rows"
first=${CLIENTS%% *} last=${CLIENTS##* }
for clients in $CLIENTS; do
  # shellcheck disable=SC2086 # several numbers
  printf '   %8s | %10.0f %17s | %10.0f %17s | %s\n' "$clients" \
    "$(median ${figures[1/$clients]})" "$(paired "${figures[1/$clients]}" "${figures[1/$first]}")" \
    "$(median ${figures[1000/$clients]})" "$(paired "${figures[1000/$clients]}" "${figures[1000/$first]}")" \
    "$(paired "${figures[1/$clients]}" "${figures[1000/$clients]}")"
done
of_spread=$(paired "${figures[1/$last]}" "${figures[1000/$last]}")
of_first=$(paired "${figures[1/$last]}" "${figures[1/$first]}")

# waiting INVENTORIES: of the sessions at work, how many stand before a row's lock, in hundredths; ten looks.
waiting() {
  local look="SELECT count(*) FILTER (WHERE wait_event_type = 'Lock'), count(*), pg_sleep(0.1) FROM pg_stat_activity
    WHERE state <> 'idle' AND pid <> pg_backend_pid() AND (query LIKE '%inventory SET%' OR query LIKE '%booking%' OR query LIKE 'COMMIT%' OR query LIKE 'CALL book%');"
  book "$1" "$last" & local load=$!
  value "SELECT pg_sleep(1)" > /dev/null
  # shellcheck disable=SC2046 # one statement ten times
  printf '%s\n' "$look$look$look$look$look$look$look$look$look$look" | psql -X -A -t -F ' ' | awk '{ waits += $1; all += $2 } END { print all ? int(100 * waits / all) : 0 }'
  wait "$load"
}
say "Who waits for a row's lock, at $last clients"
hot=$(waiting 1) spread=$(waiting 1000)
printf '   one row: %s %% of the sessions; 1,000 rows: %s %%\n' "$hot" "$spread"
((hot > 20 && hot > 3 * spread)) || die "the sessions did not wait for the row"
is "$of_spread < 0.8" || die "one row was as fast as 1,000"
is "$of_first < 2" || die "more clients made one row faster"
printf 'SHOWN: with %s clients one row does %s of what 1,000 rows do, and %s of what it does with %s\n' "$last" "$of_spread" "$of_first" "$first"
