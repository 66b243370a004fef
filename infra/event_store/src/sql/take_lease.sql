-- $1 name, $2 holder, $3 address, $4 milliseconds, $5 the end of a lease that nobody has renewed for as long as it lasts, or null. Taken when it is
-- free, has run out, still has that end, or was this node's before: of this name, at this address. Two nodes of one name, by mistake, would else take
-- it from each other without end. The epoch always rises.
INSERT INTO leases (name, holder, address, epoch, expires_at)
VALUES ($1, $2, $3, 1, clock_timestamp() + $4::bigint * interval '1 millisecond')
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, address = excluded.address, epoch = leases.epoch + 1, expires_at = excluded.expires_at
WHERE leases.expires_at <= clock_timestamp() OR leases.expires_at = $5 OR (leases.holder = excluded.holder AND leases.address = excluded.address)
RETURNING epoch
