#!/usr/bin/env bash
# Deadlock: two orders over the same two inventories, with their lines in another sequence.
source "$(dirname "$(readlink -f "$0")")/sessions.sh"
source "$(dirname "$(readlink -f "$0")")/load.sh"
begin anomaly_deadlock

run "
CREATE TABLE inventory (id int PRIMARY KEY, remaining int NOT NULL);
CREATE TABLE booking (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, inventory int NOT NULL);
INSERT INTO inventory SELECT n, 1000000000 FROM generate_series(1, 1000) n;"

say "One family wants the deck and the car deck, another the car deck and the deck."
open A B
tell A "BEGIN"
tell B "BEGIN"
tell A "UPDATE inventory SET remaining = remaining - 1 WHERE id = 1"
tell B "UPDATE inventory SET remaining = remaining - 1 WHERE id = 2"
send A "UPDATE inventory SET remaining = remaining - 1 WHERE id = 2"
waits A
send B "UPDATE inventory SET remaining = remaining - 1 WHERE id = 1"
hear A
hear B
case ${state[A]}/${state[B]} in
  40P01/00000 | 00000/40P01) ;;
  *) die "one of the two, and one only, had to be the victim of a deadlock" ;;
esac
tell A "COMMIT"
tell B "COMMIT"
show "SELECT id, 1000000000 - remaining AS taken FROM inventory WHERE id <= 2 ORDER BY id"
proves "both customers could have been served, and one was thrown out" "SELECT bool_and(remaining = 999999999) FROM inventory WHERE id <= 2"

# order POOL SEQUENCE: an order of two lines over the first POOL inventories.
order() {
  cat << SQL
\\set one random(1, $1)
\\set other 1 + (:one + random(0, $1 - 2)) % $1
$2
BEGIN;
UPDATE inventory SET remaining = remaining - 1 WHERE id = :first;
UPDATE inventory SET remaining = remaining - 1 WHERE id = :second;
INSERT INTO booking (inventory) VALUES (:first), (:second);
COMMIT;
SQL
}

say "Under load: 16 clients, orders of two lines, once in the customer's sequence and once sorted. A deadlock is found after $(value "SHOW deadlock_timeout")."
LOAD_SECONDS=$((LOAD_SECONDS < 5 ? 5 : LOAD_SECONDS))   # a deadlock takes a second; in less there might be none
has_pgbench || { echo "   (left out: pgbench is not installed)"; exit 0; }
printf '   %-14s %-22s %10s %12s\n' inventories sequence orders/s "thrown out"
for pool in 10 1000; do
  order $pool $'\\set first :one\n\\set second :other' > "$pipes/any.sql"
  order $pool $'\\set first least(:one, :other)\n\\set second greatest(:one, :other)' > "$pipes/sorted.sql"
  for kind in any sorted; do
    load "$pipes/$kind.sql" 16
    printf '   %-14s %-22s %10.0f %12s\n' "$pool" "$kind" "$per_second" "$failed"
    [ "$pool/$kind" = 10/any ] && thrown_out=$failed any=$per_second
    [ "$pool/$kind" = 10/sorted ] && sorted=$per_second
  done
done
printf '   over 10 inventories, sorted orders go %s times as fast\n' "$(quotient "$sorted" "$any")"
((thrown_out > 0)) || die "no deadlock under load"
printf 'SHOWN: %s orders were thrown out, and everybody behind them waited\n' "$thrown_out"
