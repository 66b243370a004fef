-- The conventional model: a counter a slot, a row a booking.
CREATE TABLE plain_slots (id integer PRIMARY KEY, remaining bigint NOT NULL CHECK (remaining >= 0));
CREATE TABLE plain_bookings (id uuid PRIMARY KEY, slot integer NOT NULL, customer text NOT NULL, booked_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE plain_orders (id uuid PRIMARY KEY, customer text NOT NULL, state text NOT NULL, placed_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE plain_lines (order_id uuid NOT NULL, line integer NOT NULL, slot integer NOT NULL, quantity integer NOT NULL, PRIMARY KEY (order_id, line));
INSERT INTO plain_slots SELECT n, 1000000000 FROM generate_series(0, 999) n;
CREATE TABLE stock_events (aggregate_type text NOT NULL, aggregate_id text NOT NULL, sequence bigint NOT NULL, event_type text NOT NULL, event_version text NOT NULL,
    payload json NOT NULL, metadata json NOT NULL, PRIMARY KEY (aggregate_type, aggregate_id, sequence));
CREATE TABLE stock_snapshots (aggregate_type text NOT NULL, aggregate_id text NOT NULL, last_sequence bigint NOT NULL, current_snapshot bigint NOT NULL, payload json NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id));
CREATE TABLE limit_events (LIKE events INCLUDING INDEXES);
CREATE TABLE limit_commands (LIKE commands INCLUDING INDEXES);
CREATE SEQUENCE limit_positions;
