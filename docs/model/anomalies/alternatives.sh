#!/usr/bin/env bash
# What is done about it: the usual ways of taking one place of one inventory, side by side, in bookings a second. Takes some minutes.
source "$(dirname "$(readlink -f "$0")")/sessions.sh"
source "$(dirname "$(readlink -f "$0")")/load.sh"
has_pgbench || die "pgbench 15 or newer is missing"
begin anomaly_alternatives
CLIENTS=${CLIENTS:-1 16 64}

run "
CREATE TABLE inventory (id int PRIMARY KEY, remaining int NOT NULL, version bigint NOT NULL DEFAULT 0);
CREATE TABLE booking (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, inventory int NOT NULL, customer text NOT NULL);
CREATE TABLE seat (inventory int NOT NULL, number int NOT NULL, customer text, PRIMARY KEY (inventory, number));
CREATE INDEX seat_free ON seat (inventory, number) WHERE customer IS NULL;
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, status text NOT NULL);
INSERT INTO inventory SELECT n, 1000000000 FROM generate_series(1, 1000) n;"

insert="INSERT INTO booking (inventory, customer) VALUES (1, 'somebody');"
two_lines=$'\\set one random(1, 1000)\n\\set other 1 + (:one + random(0, 998)) % 1000\n\\set a least(:one, :other)\n\\set b greatest(:one, :other)'
line() { echo "UPDATE inventory SET remaining = remaining - 1 WHERE id = :$1 AND remaining > 0; INSERT INTO booking (inventory, customer) VALUES (:$1, 'somebody');"; }
way() { cat > "$pipes/$1.sql"; }

way for-update <<< "BEGIN;
SELECT remaining FROM inventory WHERE id = 1 FOR UPDATE;
UPDATE inventory SET remaining = remaining - 1 WHERE id = 1;
$insert
COMMIT;"
way conditional <<< "BEGIN;
UPDATE inventory SET remaining = remaining - 1 WHERE id = 1 AND remaining > 0;
$insert
COMMIT;"
way one-statement <<< "WITH taken AS (UPDATE inventory SET remaining = remaining - 1 WHERE id = 1 AND remaining > 0 RETURNING id)
INSERT INTO booking (inventory, customer) SELECT id, 'somebody' FROM taken;"
way version <<< "SELECT version AS read FROM inventory WHERE id = 1 \\gset
WITH taken AS (UPDATE inventory SET remaining = remaining - 1, version = version + 1 WHERE id = 1 AND version = :read RETURNING id)
INSERT INTO booking (inventory, customer) SELECT id, 'somebody' FROM taken;"
way serializable <<< "BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT remaining FROM inventory WHERE id = 1;
UPDATE inventory SET remaining = remaining - 1 WHERE id = 1;
$insert
COMMIT;"
way skip-locked <<< "WITH free AS (SELECT number FROM seat WHERE inventory = 1 AND customer IS NULL ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED),
taken AS (UPDATE seat SET customer = 'somebody' FROM free WHERE seat.inventory = 1 AND seat.number = free.number RETURNING 1)
INSERT INTO booking (inventory, customer) SELECT 1, 'somebody' FROM taken;"
way by-hand-64 <<< "WITH taken AS (UPDATE inventory SET remaining = remaining - 64 WHERE id = 1 AND remaining >= 64 RETURNING id)
INSERT INTO booking (inventory, customer) SELECT id, 'somebody' FROM taken, generate_series(1, 64);"
way two-lines-whole <<< "$two_lines
BEGIN;
INSERT INTO orders (status) VALUES ('HELD');
$(line a)
$(line b)
COMMIT;"
way two-lines-saga <<< "$two_lines
INSERT INTO orders (status) VALUES ('PENDING') RETURNING id AS order \\gset
BEGIN; $(line a) COMMIT;
BEGIN; $(line b) COMMIT;
UPDATE orders SET status = 'HELD' WHERE id = :order;"

# measure WAY CLIENTS: what counts is what was booked, so an attempt that lost its race is none. Sets per_second and, in hundredths of
# all attempts, those that were in vain.
measure() {
  run "TRUNCATE booking, seat, orders; VACUUM inventory" 2> /dev/null || { run "TRUNCATE booking, seat, orders"; run "VACUUM inventory"; }
  [ "$1" = skip-locked ] && run "INSERT INTO seat SELECT 1, n FROM generate_series(1, 100000 * $LOAD_SECONDS) n; ANALYZE seat"
  load "$pipes/$1.sql" "$2" 0
  local booked attempts
  booked=$(value "SELECT count(*) FROM booking")
  attempts=$(awk -v tps="$per_second" -v seconds="$LOAD_SECONDS" -v retried="$retried" 'BEGIN { print tps * seconds + retried }')
  per_second=$((booked / LOAD_SECONDS))
  [[ $1 = two-lines-* ]] && per_second=$((per_second / 2))
  in_vain=0
  [[ $1 = version || $1 = serializable || $1 = skip-locked ]] && in_vain=$(awk -v b="$booked" -v a="$attempts" 'BEGIN { v = 100 * (1 - b / a); printf "%.0f", v < 0 ? 0 : v }')
  return 0
}

say "One place of one inventory; the last two: an order over two of 1,000 inventories"
settings
ways="conditional for-update one-statement version serializable skip-locked by-hand-64 two-lines-whole two-lines-saga"
declare -A figures vain
for ((round = 0; round < LOAD_ROUNDS; round++)); do
  for clients in $CLIENTS; do
    for way in $ways; do
      measure "$way" "$clients"
      figures[$way/$clients]+=" $per_second"
      vain[$way/$clients]+=" $in_vain"
    done
  done
done

printf '   %-16s' way
for clients in $CLIENTS; do printf ' | %8s %7s %7s' "at $clients" ratio "in vain"; done
echo
base=conditional
for way in $ways; do
  [ "$way" = two-lines-whole ] && base=two-lines-whole
  printf '   %-16s' "$way"
  for clients in $CLIENTS; do
    # shellcheck disable=SC2086 # several numbers
    printf ' | %8.0f %7s %5s %%' "$(median ${figures[$way/$clients]})" "$(paired "${figures[$way/$clients]}" "${figures[$base/$clients]}")" "$(median ${vain[$way/$clients]})"
  done
  echo
done
echo "   ratio: to conditional (two-lines: to two-lines-whole) at as many clients; in vain: attempts that had to be made again"
