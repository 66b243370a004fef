CREATE TABLE build.products (
    product_id        text COLLATE "C" PRIMARY KEY,
    title             text NOT NULL,
    sale_mode         text COLLATE "C" NOT NULL,
    time_zone         text NOT NULL,
    currency          text COLLATE "C" NOT NULL,
    hold_seconds      integer NOT NULL,
    cut_off_seconds   integer NOT NULL,
    status            text COLLATE "C" NOT NULL,
    suspension_reason text NOT NULL,
    created_at        timestamptz NOT NULL,
    changed_at        timestamptz NOT NULL
);

-- `option` is JSON: title, units with prices, draws.
CREATE TABLE build.options (
    product_id text COLLATE "C" NOT NULL,
    option_id  text COLLATE "C" NOT NULL,
    option     text NOT NULL,
    PRIMARY KEY (product_id, option_id)
);
