-- Times are microseconds of UTC since 1970 (`_us`), sizes are bytes. Words (vendor, state, kind ...) are those of the
-- API; they are not listed in checks, because SQLite cannot change a check without rebuilding the table.

-- What the operator said of a camera. Read as a whole at start; a few hundred rows at most.
create table camera (
    -- Also the name of its directory on the volume.
    id              text    not null primary key,
    name            text    not null,
    vendor          text    not null,
    address         text,
    rtsp_port       integer not null check (rtsp_port between 1 and 65535),
    channel         integer not null check (channel > 0),
    username        text,
    -- Sealed with the key file (24 bytes of nonce, then XChaCha20-Poly1305), bound to this row's id.
    password        blob,
    -- Explicit URLs, without credentials; null where the vendor's template serves.
    main_url        text,
    sub_url         text,
    -- main or sub: which stream is recorded.
    record_profile  text    not null,
    -- tcp, udp or auto: what carries RTP.
    transport       text    not null,
    record_enabled  integer not null check (record_enabled in (0, 1)),
    segment_seconds integer not null check (segment_seconds > 0),
    created_us      integer not null
) strict;

-- One recorded file. The file is the truth, the row is the index: rows come from the writer as it writes, and recovery
-- at start makes them say what is on disk. A row is written when the file's first fragment is on disk, and again as the
-- file grows.
create table segment (
    -- Never used twice, because URLs hold it.
    id        integer primary key autoincrement,
    -- No foreign key: footage outlives the camera's settings.
    camera_id text    not null,
    -- main or sub.
    profile   text    not null,
    -- Below the volume's root, `/` between its parts.
    path      text    not null unique,
    -- First frame.
    start_us  integer not null,
    -- End of the last frame on disk; grows while the segment is open.
    end_us    integer not null,
    -- In whole fragments.
    frames    integer not null check (frames >= 0),
    -- Of the file, up to the end of the last whole fragment while the segment is open.
    bytes     integer not null check (bytes >= 0),
    codec     text    not null,
    -- Pixels.
    width     integer not null check (width >= 0),
    height    integer not null check (height >= 0),
    -- live: from the camera's stream.
    source    text    not null,
    -- open (being written, or left so by a kill), closed, lost (its file is gone).
    state     text    not null
) strict;

-- A day's timeline is read from this alone, without touching the rows.
create index segment_by_time on segment (camera_id, start_us, end_us, state);

-- What a killed process left open; holds a handful of rows.
create index segment_open on segment (state) where state = 'open';

-- The log for the operator. Only ever appended to.
create table event (
    id        integer primary key autoincrement,
    at_us     integer not null,
    -- Null for events of the service; no foreign key, because the log outlives the camera.
    camera_id text,
    kind      text    not null,
    -- info, warning or error.
    severity  text    not null,
    -- For people, secrets masked.
    detail    text    not null
) strict;

-- One camera's log. Ends with the rowid, as every index does, and so gives the order too.
create index event_by_camera on event (camera_id);
