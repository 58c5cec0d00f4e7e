-- UUIDv7: the first 48 bits are Unix time in milliseconds.

CREATE FUNCTION uuid7_floor(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
$$;
COMMENT ON FUNCTION uuid7_floor IS 'The smallest UUIDv7 of that millisecond.';

CREATE FUNCTION uuid7_time(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
  SELECT to_timestamp(('x' || lpad(left(replace(id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0)
$$;
COMMENT ON FUNCTION uuid7_time IS 'When that UUIDv7 was made, to the millisecond.';

-- One partition a day, days of UTC. There is no DEFAULT partition: a row that fits nowhere is an error, not a leak.
-- Attaching a finished table blocks neither readers nor writers of the parent, CREATE ... PARTITION OF would.

CREATE FUNCTION ensure_partitions(days int DEFAULT 7) RETURNS int
LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
  parent text;
  child text;
  day timestamp;
  made int := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('rankloop.ensure_partitions', 0));
  FOREACH parent IN ARRAY ARRAY['decisions', 'answers', 'feedback', 'rewards'] LOOP
    FOR ahead IN -1..days LOOP
      day := date_trunc('day', now() AT TIME ZONE 'UTC') + make_interval(days => ahead);
      child := parent || '_' || to_char(day, 'YYYYMMDD');
      CONTINUE WHEN to_regclass(child) IS NOT NULL;
      EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
      EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent, child,
        uuid7_floor(day AT TIME ZONE 'UTC'),
        uuid7_floor((day + interval '1 day') AT TIME ZONE 'UTC'));
      made := made + 1;
    END LOOP;
  END LOOP;
  RETURN made;
END $$;
COMMENT ON FUNCTION ensure_partitions IS 'Makes what is missing from yesterday to so many days ahead; returns how many.';

CREATE FUNCTION take_lease(wanted text, taker text, ttl interval, force boolean DEFAULT false) RETURNS bigint
LANGUAGE sql AS $$
  INSERT INTO leases AS held (name, holder, token, expires_at)
  VALUES (wanted, taker, 1, clock_timestamp() + ttl)
  ON CONFLICT (name) DO UPDATE
  SET holder = excluded.holder,
      expires_at = excluded.expires_at,
      token = held.token + (held.holder <> excluded.holder)::int
  WHERE held.holder = excluded.holder OR held.expires_at < clock_timestamp() OR force
  RETURNING token
$$;
COMMENT ON FUNCTION take_lease IS 'The fencing token, or NULL while somebody else holds the lease.';

-- What was said, counted or published once stays as it was.

CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'RL004';
END $$;

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON feedback
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON rewards
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON promotions
FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER never_emptied BEFORE TRUNCATE ON promotions
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Who may publish: the holder of the line's lease, and nobody who held it before. The lock keeps the lease from
-- changing hands until the promotion has committed.

CREATE FUNCTION guard_promotion() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
  current_token bigint;
  live_epoch bigint;
BEGIN
  SELECT token INTO current_token FROM leases WHERE name = 'line:' || NEW.line FOR UPDATE;
  IF current_token IS NULL THEN
    RAISE EXCEPTION 'nobody holds the lease of line %', NEW.line USING ERRCODE = 'RL001';
  END IF;
  IF NEW.fencing_token <> current_token THEN
    RAISE EXCEPTION 'fencing token % of line % is stale, % is current', NEW.fencing_token, NEW.line, current_token
      USING ERRCODE = 'RL002';
  END IF;
  SELECT coalesce(max(epoch), 0) INTO live_epoch FROM promotions WHERE line = NEW.line;
  IF NEW.previous_epoch <> live_epoch THEN
    RAISE EXCEPTION 'line % is at epoch %, not at %', NEW.line, live_epoch, NEW.previous_epoch
      USING ERRCODE = 'RL003';
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER guard BEFORE INSERT ON promotions
FOR EACH ROW EXECUTE FUNCTION guard_promotion();

SELECT ensure_partitions();
