#!/usr/bin/env bash
# Lost update: two customers read the same count, each writes back what they computed from it. One place is sold twice.
source "$(dirname "$(readlink -f "$0")")/sessions.sh"
begin anomaly_lost_update

run "
CREATE TABLE inventory (id int PRIMARY KEY, remaining int NOT NULL CHECK (remaining >= 0));
CREATE TABLE booking (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, inventory int NOT NULL REFERENCES inventory, customer text NOT NULL);
INSERT INTO inventory VALUES (1, 1);"

say "One place is left. Both sessions run what an application does: read, compute, write back (READ COMMITTED, the default)."
open A B
tell A "BEGIN"
tell B "BEGIN"
tell A "SELECT remaining FROM inventory WHERE id = 1"
tell B "SELECT remaining FROM inventory WHERE id = 1"
tell A "UPDATE inventory SET remaining = 0 WHERE id = 1"
tell A "INSERT INTO booking (inventory, customer) VALUES (1, 'Ann')"
tell A "COMMIT"
tell B "UPDATE inventory SET remaining = 0 WHERE id = 1"
tell B "INSERT INTO booking (inventory, customer) VALUES (1, 'Bo')"
tell B "COMMIT"
show "SELECT remaining, (SELECT count(*) FROM booking) AS sold FROM inventory"
proves "one place, two bookings, and the CHECK saw nothing wrong" "SELECT remaining = 0 AND (SELECT count(*) = 2 FROM booking) FROM inventory"

say "The same under REPEATABLE READ: the second writer is told, and has to begin again."
run "TRUNCATE booking; UPDATE inventory SET remaining = 1"
tell A "BEGIN ISOLATION LEVEL REPEATABLE READ"
tell B "BEGIN ISOLATION LEVEL REPEATABLE READ"
tell A "SELECT remaining FROM inventory WHERE id = 1"
tell B "SELECT remaining FROM inventory WHERE id = 1"
tell A "UPDATE inventory SET remaining = 0 WHERE id = 1"
send B "UPDATE inventory SET remaining = 0 WHERE id = 1"
waits B
tell A "COMMIT"
hear B
ended B 40001
tell B "ROLLBACK"

say "With the condition inside of the UPDATE nobody needs to begin again, but B still waits for A's commit. Then it finds no row."
run "UPDATE inventory SET remaining = 1"
tell A "BEGIN"
tell A "UPDATE inventory SET remaining = remaining - 1 WHERE id = 1 AND remaining >= 1"
send B "UPDATE inventory SET remaining = remaining - 1 WHERE id = 1 AND remaining >= 1"
waits B
tell A "COMMIT"
hear B
[ "$answer" = "UPDATE 0" ] || die "the conditional UPDATE took a place that was gone"
