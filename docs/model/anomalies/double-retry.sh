#!/usr/bin/env bash
# Double booking by a retry: the commit succeeds, its answer is lost, the client tries again.
source "$(dirname "$(readlink -f "$0")")/sessions.sh"
begin anomaly_double_retry

# To lose the answer and not the commit, the commit is held up from inside: a deferred trigger runs within COMMIT and waits for an
# advisory lock that session G (the gate) has. Meanwhile the client is killed; then the gate opens.
run "
CREATE TABLE inventory (id int PRIMARY KEY, remaining int NOT NULL CHECK (remaining >= 0));
CREATE TABLE booking (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, inventory int NOT NULL, customer text NOT NULL, request_id uuid UNIQUE);
INSERT INTO inventory VALUES (1, 10);
CREATE FUNCTION pass_the_gate() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN PERFORM pg_advisory_xact_lock_shared(7001); RETURN NULL; END \$\$;
CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON booking DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION pass_the_gate();"

# lose_the_answer SESSION INSERT: books, and dies after COMMIT was sent and before its answer came.
lose_the_answer() {
  tell G "SELECT pg_advisory_lock(7001)"
  tell "$1" "BEGIN"
  tell "$1" "UPDATE inventory SET remaining = remaining - 1 WHERE id = 1 AND remaining > 0"
  tell "$1" "$2"
  send "$1" "COMMIT"
  waits "$1"
  kill -9 "${pid[$1]}"
  wait "${pid[$1]}" 2> /dev/null || true
  unset "pid[$1]"
  echo "$1: killed before an answer came"
  tell G "SELECT pg_advisory_unlock(7001)"
  # the server works on without its client, and commits
  local deadline=$((SECONDS + WAIT_SECONDS))
  while [ "$(value "SELECT count(*) FROM pg_stat_activity WHERE pid = ${server_pid[$1]}")" != 0 ]; do
    ((SECONDS < deadline)) || die "the killed session lives on in the server"
  done
}

say "Ann books; her client is cut off after it has sent COMMIT. It sees an error, and does what clients do."
open G A B
lose_the_answer A "INSERT INTO booking (inventory, customer) VALUES (1, 'Ann')"
tell B "BEGIN"
tell B "UPDATE inventory SET remaining = remaining - 1 WHERE id = 1 AND remaining > 0"
tell B "INSERT INTO booking (inventory, customer) VALUES (1, 'Ann')"
tell B "COMMIT"
show "SELECT customer, count(*) AS bookings, min(remaining) AS remaining FROM booking JOIN inventory ON true GROUP BY 1"
proves "Ann wanted one place and has two" "SELECT count(*) = 2 FROM booking WHERE customer = 'Ann'"

say "With an id that the client chose before its first try, and a unique key, the second try finds out."
run "TRUNCATE booking; UPDATE inventory SET remaining = 10"
id="00000000-0000-7000-8000-000000000001"
open C
lose_the_answer C "INSERT INTO booking (inventory, customer, request_id) VALUES (1, 'Ann', '$id')"
tell B "BEGIN"
tell B "UPDATE inventory SET remaining = remaining - 1 WHERE id = 1 AND remaining > 0"
tell B "INSERT INTO booking (inventory, customer, request_id) VALUES (1, 'Ann', '$id')"
ended B 23505
tell B "ROLLBACK"
[ "$(value "SELECT count(*) FROM booking")" = 1 ] || die "the unique key let a second booking in"

say "But a refusal leaves no row. Told 'sold out', with the answer lost, the client tries again under the same id, and gets another answer."
run "TRUNCATE booking; UPDATE inventory SET remaining = 0"
try="WITH taken AS (UPDATE inventory SET remaining = remaining - 1 WHERE id = 1 AND remaining > 0 RETURNING id)
   INSERT INTO booking (inventory, customer, request_id) SELECT id, 'Ann', '$id' FROM taken"
tell B "$try"
first=$answer
run "UPDATE inventory SET remaining = 1"
echo "   (somebody cancels: one place comes back)"
tell B "$try"
[ "$first/$answer" = "INSERT 0 0/INSERT 0 1" ] || die "the two tries were expected to differ"
echo "SHOWN: one request id, two outcomes: refused, and then booked"
