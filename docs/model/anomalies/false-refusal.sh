#!/usr/bin/env bash
# False refusal: SKIP LOCKED takes a seat that somebody has only touched for one that is sold.
source "$(dirname "$(readlink -f "$0")")/sessions.sh"
begin anomaly_false_refusal

run "
CREATE TABLE seat (inventory int NOT NULL, number int NOT NULL, customer text, PRIMARY KEY (inventory, number));
INSERT INTO seat VALUES (1, 1, NULL);"
open A B
next="SELECT number FROM seat WHERE inventory = 1 AND customer IS NULL ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED"

say "One row a seat, and SKIP LOCKED so that nobody waits. One seat is left. A takes it and fails to pay."
tell A "BEGIN"
tell A "$next"
tell A "UPDATE seat SET customer = 'Ann' WHERE inventory = 1 AND number = 1"
tell B "$next"
[ -z "$answer" ] || die "B was to find no seat"
echo "                                       (no row: B tells its customer that it is sold out)"
tell A "ROLLBACK"
show "SELECT * FROM seat"
proves "B was refused, and the seat is free" "SELECT customer IS NULL FROM seat"
