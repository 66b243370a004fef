#!/usr/bin/env bash
# Write skew: two transactions read the same rows, each writes another one. Each is right alone; together they break the rule.
source "$(dirname "$(readlink -f "$0")")/sessions.sh"
begin anomaly_write_skew

run "
CREATE TABLE pool (id text PRIMARY KEY, capacity int NOT NULL);
CREATE TABLE option_sales (option text PRIMARY KEY, pool text NOT NULL REFERENCES pool, sold int NOT NULL);
CREATE TABLE product (id text PRIMARY KEY, on_sale boolean NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY, product text NOT NULL REFERENCES product);
INSERT INTO pool VALUES ('gallery', 10);
INSERT INTO option_sales VALUES ('guided tour', 'gallery', 5), ('free visit', 'gallery', 4);
INSERT INTO product VALUES ('museum', true);"
open A B

sum="SELECT 10 - sum(sold) AS free FROM option_sales WHERE pool = 'gallery'"
both_sell() {
  tell A "BEGIN ISOLATION LEVEL $1"
  tell B "BEGIN ISOLATION LEVEL $1"
  tell A "$sum"
  tell B "$sum"
  tell A "UPDATE option_sales SET sold = sold + 1 WHERE option = 'guided tour'"
  tell B "UPDATE option_sales SET sold = sold + 1 WHERE option = 'free visit'"
  tell A "COMMIT"
  tell B "COMMIT"
}

say "Two options share a gallery with 10 places; 9 are sold. Snapshot isolation (REPEATABLE READ): different rows, so nobody waits for anybody."
both_sell "REPEATABLE READ"
show "SELECT capacity, (SELECT sum(sold) FROM option_sales) AS sold FROM pool"
proves "11 places sold of 10, by two transactions that both checked" "SELECT sum(sold) = 11 FROM option_sales"

say "Under SERIALIZABLE one of them is ended, and must begin again."
run "UPDATE option_sales SET sold = 5 WHERE option = 'guided tour'; UPDATE option_sales SET sold = 4 WHERE option = 'free visit'"
both_sell "SERIALIZABLE"
ended B 40001
[ "$(value "SELECT sum(sold) FROM option_sales")" = 10 ] || die "SERIALIZABLE let more than 10 be sold"

say "The same with a row that is only read: A sells because the product is on sale, B takes it off because nobody has ordered."
tell A "BEGIN ISOLATION LEVEL REPEATABLE READ"
tell B "BEGIN ISOLATION LEVEL REPEATABLE READ"
tell A "SELECT on_sale FROM product WHERE id = 'museum'"
tell B "SELECT count(*) FROM orders WHERE product = 'museum'"
tell B "UPDATE product SET on_sale = false WHERE id = 'museum'"
tell B "COMMIT"
tell A "INSERT INTO orders VALUES (1, 'museum')"
tell A "COMMIT"
show "SELECT p.on_sale, count(o.id) AS orders FROM product p LEFT JOIN orders o ON o.product = p.id GROUP BY p.on_sale"
proves "an order that was taken after its product had gone off sale" "SELECT NOT on_sale AND EXISTS (SELECT FROM orders) FROM product"
