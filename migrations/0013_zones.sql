-- Places of a camera's picture in which movement means something. Read as a whole at start; a few for each camera.
create table zone (
    -- Never used twice, because events name it.
    id             integer primary key autoincrement,
    camera_id      text    not null references camera (id) on delete cascade,
    name           text    not null,
    -- region or line.
    kind           text    not null,
    -- JSON: [[x, y], ...], each in 0..1.
    points         text    not null check (json_valid(points)),
    -- JSON: what counts; empty is everything.
    labels         text    not null check (json_valid(labels)),
    min_confidence real    not null,
    confirm_frames integer not null,
    -- Seconds; null tells of nobody who stays.
    dwell_seconds  integer
) strict;

-- What programs found in frames: one row for each frame in which a task found anything.
create table detection (
    id             integer primary key,
    camera_id      text    not null references camera (id) on delete cascade,
    -- No reference: what was found stays when its task goes.
    task_id        integer not null,
    -- The number of the frame, which no other frame of the stream ever has.
    frame          integer not null,
    -- main or sub: of which stream.
    profile        text    not null,
    -- When it was taken.
    at_us          integer not null,
    -- The segment that holds it, and how far into it, as far as was known; the segment may be gone since.
    segment_id     integer,
    offset_us      integer,
    -- JSON: the detections.
    found          text    not null check (json_valid(found)),
    unique (task_id, frame)
) strict;
create index detection_by_camera on detection (camera_id, at_us);

-- What a program saw in a zone, as JSON; null for other events.
alter table event add column sight text;
