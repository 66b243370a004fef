-- `lines` and `failures` are JSON, which nobody but the query reads; `personal` is sealed. A fifth of each page is left to what becomes of an order later.
CREATE TABLE build.orders (
    accepted_position bigint NOT NULL,
    placed_at         timestamptz NOT NULL,
    total_minor       bigint NOT NULL,
    order_id          text COLLATE "C" PRIMARY KEY,
    customer          text COLLATE "C" NOT NULL,
    currency          text COLLATE "C" NOT NULL,
    status            text COLLATE "C" NOT NULL,
    lines             text NOT NULL,
    settled_at        timestamptz,
    hold_expires_at   timestamptz,
    confirmed_at      timestamptz,
    expired_at        timestamptz,
    cancelled_at      timestamptz,
    cancel_reason     text,
    failures          text,
    personal          text
) WITH (fillfactor = 80);
CREATE INDEX ON build.orders (customer, accepted_position);
