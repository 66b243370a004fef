#!/usr/bin/env bash
# Hot row: everybody wants the same inventory. Its row is locked from the UPDATE until the commit is on disk, so commits go one by one.
source "$(dirname "$(readlink -f "$0")")/sessions.sh"
source "$(dirname "$(readlink -f "$0")")/load.sh"
begin anomaly_hot_row
CLIENTS=${CLIENTS:-1 4 16 64}

run "
CREATE TABLE inventory (id int PRIMARY KEY, remaining int NOT NULL);
CREATE TABLE booking (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, inventory int NOT NULL, customer text NOT NULL);
CREATE UNLOGGED TABLE tally (done bigint NOT NULL);
INSERT INTO inventory SELECT n, 1000000000 FROM generate_series(1, 1000) n;
CREATE PROCEDURE book(inventories int, seconds float) LANGUAGE plpgsql AS \$\$
DECLARE until timestamptz := clock_timestamp() + make_interval(secs => seconds); taken int; done bigint := 0;
BEGIN
  WHILE clock_timestamp() < until LOOP
    UPDATE inventory SET remaining = remaining - 1 WHERE id = 1 + floor(random() * inventories)::int AND remaining > 0 RETURNING id INTO taken;
    INSERT INTO booking (inventory, customer) VALUES (taken, 'somebody');
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
printf '   %8s | %12s %10s | %12s %10s | %s\n' clients "one row" "of 1st" "1,000 rows" "of 1st" "one row of 1,000 rows"
for clients in $CLIENTS; do
  # shellcheck disable=SC2086 # several numbers
  one=$(median ${figures[1/$clients]}) many=$(median ${figures[1000/$clients]})
  first_one=${first_one:-$one} first_many=${first_many:-$many}
  printf '   %8s | %12.0f %10s | %12.0f %10s | %s\n' "$clients" "$one" "$(quotient "$one" "$first_one")" \
    "$many" "$(quotient "$many" "$first_many")" "$(quotient "$one" "$many")"
done

# waiting INVENTORIES: of the sessions at work, how many stand before a row's lock, in hundredths; ten looks.
waiting() {
  local look="SELECT count(*) FILTER (WHERE wait_event_type = 'Lock'), count(*), pg_sleep(0.1) FROM pg_stat_activity
    WHERE state <> 'idle' AND pid <> pg_backend_pid() AND (query LIKE '%inventory SET%' OR query LIKE '%booking%' OR query LIKE 'COMMIT%' OR query LIKE 'CALL book%');"
  book "$1" "${CLIENTS##* }" & local load=$!
  value "SELECT pg_sleep(1)" > /dev/null
  # shellcheck disable=SC2046 # one statement ten times
  printf '%s\n' "$look$look$look$look$look$look$look$look$look$look" | psql -X -A -t -F ' ' | awk '{ waits += $1; all += $2 } END { print int(100 * waits / all) }'
  wait "$load"
}
say "Who waits for a row's lock, at ${CLIENTS##* } clients"
hot=$(waiting 1) spread=$(waiting 1000)
printf '   one row: %s %% of the sessions; 1,000 rows: %s %%\n' "$hot" "$spread"
((hot > 20 && hot > 3 * spread)) || die "the sessions did not wait for the row"
is "$one < 0.8 * $many" || die "one row was as fast as 1,000"
is "$one < 2 * $first_one" || die "more clients made one row faster"
printf 'SHOWN: with %s clients one row does %s of what 1,000 rows do, and %s times what it does with one client\n' \
  "${CLIENTS##* }" "$(quotient "$one" "$many")" "$(quotient "$one" "$first_one")"
