-- What programs that look at pictures are to look at. Read as a whole at start; a thousand rows at most.
create table ai_task (
    -- Never used twice, because programs remember it.
    id         integer primary key autoincrement,
    camera_id  text    not null references camera (id) on delete cascade,
    -- For the programs: motion, people ...
    kind       text    not null,
    -- main or sub: which stream.
    profile    text    not null,
    -- Frames in a thousand seconds.
    rate       integer not null check (rate > 0),
    -- Pixels.
    width      integer not null check (width > 0),
    -- JSON, for the programs.
    config     text    not null check (json_valid(config)),
    enabled    integer not null check (enabled in (0, 1)),
    -- Greater goes first where the budget is short.
    priority   integer not null
) strict;
