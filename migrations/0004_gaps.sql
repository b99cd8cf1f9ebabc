-- Time without footage: one row for each stretch with one cause. A camera's rows do not overlap each other, and where
-- one overlaps footage, the footage counts. Rows grow with what goes wrong, not with what is recorded.
create table gap (
    -- Never used twice, because URLs hold it.
    id        integer primary key autoincrement,
    -- No foreign key: the account outlives the camera's settings.
    camera_id text    not null,
    from_us   integer not null,
    -- Null while it goes on; one such row for each camera at most.
    to_us     integer,
    -- not_wanted, which is no gap, or why wanted footage is missing: camera_offline, stalled, auth, no_keyframe,
    -- disk_full, disk_error, service_down, clock, operator.
    cause     text    not null
) strict;

-- A day is read from this alone, without touching the rows.
create index gap_by_time on gap (camera_id, from_us, to_us, cause);
-- What a killed process left open; one row for each camera at most.
create index gap_open on gap (camera_id) where to_us is null;

-- One row: when an account of gaps was begun, and when the service was last known to be alive. Footage and gaps tell
-- that too; this is written only while there is nothing of both.
create table life (
    id       integer primary key check (id = 1),
    since_us integer not null,
    at_us    integer not null
) strict;
