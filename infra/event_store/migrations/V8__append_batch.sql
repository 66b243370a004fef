-- One append, as before (V2), and chained (V6), over a log of which a part may have been moved (V7). New: e_digest, the digests of the events,
-- 32 bytes each, one after the other; and known, a position up to which every state was known that the batch was decided on. What was decided
-- before it knew of what has been moved cannot trust the primary key: the rows that it would meet may be gone. It is checked with care.
-- What the planner may do is now a matter of the connection (append.rs): to change five settings for each call took a tenth of its time.
-- For the same reason what needs no query is an expression rather than a PERFORM, and the last batch tells where the log ends.
DROP FUNCTION append_batch;
CREATE FUNCTION append_batch(
    batch_no bigint, after_batch bigint, careful boolean, lease text, lease_epoch bigint,
    s_type text[], s_id text[], s_expected bigint[], s_check boolean[],
    u_group integer[], u_stream integer[], u_writes boolean[],
    g_events integer[], g_leased boolean[],
    c_group integer[], c_id uuid[], c_caller text[], c_digest bytea[], c_offset integer[], c_refusal text[],
    e_group integer[], e_aggregate_type text[], e_aggregate_id text[], e_sequence bigint[], e_event_type text[], e_event_version text[], e_payload text[], e_metadata text[],
    e_digest bytea, known bigint,
    OUT base bigint, OUT stamped_at timestamptz, OUT fallen integer[], OUT repeated integer[], OUT lease_lost boolean, OUT stale boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
DECLARE
    event_total integer := cardinality(e_sequence);
    group_total integer := cardinality(g_events);
    head bytea;
    moved bigint;
    ignored text;
    dead_streams integer[];
    dead boolean[];
    falls boolean[];
    offsets integer[];
    running integer := 0;
    i integer := 1;
    j integer;
    fate boolean;
    g integer;
BEGIN
    stale := false;
    lease_lost := false;
    -- Two batches may be under way on one connection. The second was decided on top of the first: it may land only if that one landed
    -- whole. Versions alone do not show this, since another writer can have brought the streams to the same versions by other events.
    IF after_batch >= 0 AND current_setting('jari.landed', true) IS DISTINCT FROM after_batch::text THEN
        stale := true;
        RETURN;
    END IF;
    -- the lock of lock_log_head()
    ignored := pg_advisory_xact_lock(hashtextextended('jari.log_head', 0));
    -- the trigger that records the batches of other writers stands aside until this transaction ends
    ignored := set_config('jari.appending', 'on', true);
    SELECT b.first_position + b.event_count - 1, greatest(b.recorded_at, clock_timestamp()), b.chained_hash, (SELECT a.upto FROM archive_horizon a)
        INTO base, stamped_at, head, moved FROM batches b ORDER BY b.first_position DESC LIMIT 1;
    careful := careful OR known < moved;
    IF head IS NULL THEN
        SELECT s.head INTO head FROM log_seal s;
        base := coalesce(base, 0);
        stamped_at := coalesce(stamped_at, clock_timestamp());
    END IF;

    IF lease IS NOT NULL AND (SELECT l.epoch FROM leases l WHERE l.name = lease) IS DISTINCT FROM lease_epoch THEN
        lease_lost := true;
    END IF;
    IF careful OR true = ANY (s_check) THEN
        SELECT array_agg(u.ordinal::integer) INTO dead_streams
            FROM unnest(s_type, s_id, s_expected, s_check) WITH ORDINALITY u (kind, id, expected, wanted, ordinal)
            WHERE (u.wanted OR careful) AND u.expected <> coalesce(
                (SELECT e.sequence FROM events e WHERE e.aggregate_type = u.kind AND e.aggregate_id = u.id ORDER BY e.sequence DESC LIMIT 1), 0);
    END IF;
    IF careful THEN
        SELECT array_agg(DISTINCT u.in_group) INTO repeated
            FROM unnest(c_group, c_id, c_caller) u (in_group, id, who)
            WHERE (SELECT true FROM commands k WHERE k.command_id = u.id AND k.caller = u.who LIMIT 1);
    END IF;

    IF dead_streams IS NULL AND repeated IS NULL AND NOT lease_lost THEN
        INSERT INTO commands (command_id, caller, digest, position, refusal, recorded_at)
            SELECT u.id, u.who, u.digest, base + u.ends, u.refusal::json, stamped_at
            FROM unnest(c_id, c_caller, c_digest, c_offset, c_refusal) u (id, who, digest, ends, refusal);
        IF event_total > 0 THEN
            INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at)
                SELECT u.kind, u.id, u.seq, u.named, u.version, u.payload::json, u.metadata::json, base + u.ordinal, stamped_at
                FROM unnest(e_aggregate_type, e_aggregate_id, e_sequence, e_event_type, e_event_version, e_payload, e_metadata)
                    WITH ORDINALITY u (kind, id, seq, named, version, payload, metadata, ordinal);
            INSERT INTO batches (first_position, event_count, recorded_at, chained_hash) VALUES (base + 1, event_total, stamped_at,
                sha256(head || int8send(base + 1) || int4send(event_total) || timestamptz_send(stamped_at) || e_digest));
            ignored := pg_notify('jari_log', '');
        END IF;
        ignored := set_config('jari.landed', batch_no::text, false);
        RETURN;
    END IF;

    -- Somebody falls. Walk the groups in order: a group falls with a dead stream, a repeated id or a lost lease, and whatever it would
    -- have written is dead for those after it.
    dead := array_fill(false, ARRAY[greatest(cardinality(s_id), 1)]);
    falls := array_fill(false, ARRAY[group_total]);
    offsets := array_fill(0, ARRAY[group_total]);
    FOREACH g IN ARRAY coalesce(dead_streams, '{}') LOOP dead[g] := true; END LOOP;
    FOREACH g IN ARRAY coalesce(repeated, '{}') LOOP falls[g] := true; END LOOP;
    FOR g IN 1 .. group_total LOOP
        fate := falls[g] OR (lease_lost AND g_leased[g]);
        j := i;
        WHILE j <= cardinality(u_group) AND u_group[j] = g LOOP
            fate := fate OR dead[u_stream[j]];
            j := j + 1;
        END LOOP;
        WHILE i < j LOOP
            IF fate AND u_writes[i] THEN dead[u_stream[i]] := true; END IF;
            i := i + 1;
        END LOOP;
        falls[g] := fate;
        IF NOT fate THEN running := running + g_events[g]; END IF;
        offsets[g] := running;
    END LOOP;
    SELECT array_agg(u.ordinal::integer) INTO fallen FROM unnest(falls) WITH ORDINALITY u (fell, ordinal) WHERE u.fell;

    INSERT INTO commands (command_id, caller, digest, position, refusal, recorded_at)
        SELECT u.id, u.who, u.digest, base + offsets[u.in_group], u.refusal::json, stamped_at
        FROM unnest(c_group, c_id, c_caller, c_digest, c_refusal) u (in_group, id, who, digest, refusal) WHERE NOT falls[u.in_group];
    IF running > 0 THEN
        INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at)
            SELECT u.kind, u.id, u.seq, u.named, u.version, u.payload::json, u.metadata::json, base + row_number() OVER (ORDER BY u.ordinal), stamped_at
            FROM unnest(e_group, e_aggregate_type, e_aggregate_id, e_sequence, e_event_type, e_event_version, e_payload, e_metadata)
                WITH ORDINALITY u (in_group, kind, id, seq, named, version, payload, metadata, ordinal)
            WHERE NOT falls[u.in_group] ORDER BY u.ordinal;
        INSERT INTO batches (first_position, event_count, recorded_at, chained_hash) VALUES (base + 1, running, stamped_at,
            sha256(head || int8send(base + 1) || int4send(running) || timestamptz_send(stamped_at)
                || (SELECT string_agg(substring(e_digest FROM (u.ordinal::integer - 1) * 32 + 1 FOR 32), '' ORDER BY u.ordinal)
                    FROM unnest(e_group) WITH ORDINALITY u (in_group, ordinal) WHERE NOT falls[u.in_group])));
        ignored := pg_notify('jari_log', '');
    END IF;
END $$;
REVOKE ALL ON FUNCTION append_batch FROM public;
GRANT EXECUTE ON FUNCTION append_batch TO jari_server;
