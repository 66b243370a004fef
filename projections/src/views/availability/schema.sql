-- What a product draws on. The zone says where its days begin.
CREATE TABLE build.products (
    product_id text COLLATE "C" PRIMARY KEY,
    sale_mode  text COLLATE "C" NOT NULL,
    time_zone  text NOT NULL
);
CREATE TABLE build.draws (
    product_id text COLLATE "C" NOT NULL,
    option_id  text COLLATE "C" NOT NULL,
    pool_id    text COLLATE "C" NOT NULL,
    PRIMARY KEY (product_id, option_id, pool_id)
);

-- The counts change with every booking and stand in no index; half of each page is left to them.
CREATE TABLE build.slots (
    slot_id   text COLLATE "C" PRIMARY KEY,
    pool_id   text COLLATE "C" NOT NULL,
    starts_at timestamptz,
    ends_at   timestamptz,
    capacity  integer NOT NULL,
    held      integer NOT NULL,
    confirmed integer NOT NULL,
    status    text COLLATE "C" NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX ON build.slots (pool_id, starts_at, slot_id);

-- Open holds: the query, not the view, judges which have lapsed. One index, since each costs a third of a row's price when holds come by
-- tens of thousands a second; a query reads a slot's holds along it.
CREATE TABLE build.holds (
    slot_id    text COLLATE "C" NOT NULL,
    hold_id    text COLLATE "C" NOT NULL,
    quantity   integer NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (slot_id, hold_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
