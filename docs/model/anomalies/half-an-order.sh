#!/usr/bin/env bash
# Half an order: the lines of one order are committed one by one. A refusal or a crash between them leaves half a booking.
source "$(dirname "$(readlink -f "$0")")/sessions.sh"
begin anomaly_half_an_order

run "
CREATE TABLE inventory (id text PRIMARY KEY, remaining int NOT NULL CHECK (remaining >= 0));
CREATE TABLE orders (id int PRIMARY KEY, status text NOT NULL);
CREATE TABLE order_line (order_id int REFERENCES orders, line int, inventory text REFERENCES inventory, PRIMARY KEY (order_id, line));
INSERT INTO inventory VALUES ('ferry', 10), ('cabin', 1), ('surfing', 10);"
open A B

take() { printf "WITH taken AS (UPDATE inventory SET remaining = remaining - 1 WHERE id = '%s' AND remaining > 0 RETURNING id) INSERT INTO order_line SELECT %s, %s, id FROM taken" "$3" "$1" "$2"; }

say "By a refusal. Each line is a transaction of its own, so that no lock is held for long. B takes the last cabin between A's lines."
tell A "INSERT INTO orders VALUES (1, 'PENDING')"
tell A "$(take 1 1 ferry)"
tell B "INSERT INTO orders VALUES (2, 'PENDING')"
tell B "$(take 2 1 cabin)"
tell A "$(take 1 2 cabin)"
[ "$answer" = "INSERT 0 0" ] || die "the cabin was to be gone"
show "SELECT o.id, o.status, array_agg(l.inventory) AS has FROM orders o JOIN order_line l ON l.order_id = o.id GROUP BY 1 ORDER BY 1"
proves "order 1 wanted ferry and cabin, and holds the ferry alone" "SELECT array_agg(inventory) = '{ferry}' FROM order_line WHERE order_id = 1"

say "By a crash. The application is killed (kill -9) after its first line; nobody is left who knows that there should be a second one."
tell A "INSERT INTO orders VALUES (3, 'PENDING')"
tell A "$(take 3 1 ferry)"
kill -9 "${pid[A]}"
wait "${pid[A]}" 2> /dev/null || true
echo "A: killed"
show "SELECT o.id, o.status, array_agg(l.inventory) AS has FROM orders o JOIN order_line l ON l.order_id = o.id WHERE o.id = 3 GROUP BY 1"
proves "order 3 stays PENDING with one line of two, and its ferry place is sold to nobody" \
  "SELECT status = 'PENDING' AND (SELECT count(*) = 1 FROM order_line WHERE order_id = 3) FROM orders WHERE id = 3"
