-- The background verification of hashes: where its pass is, so that a restart goes on there. One row.
create table scrub (
    id                integer not null primary key check (id = 1),
    -- When the pass under way began; null if there is none.
    began_us          integer,
    -- Segments up to this one were read in it.
    after_id          integer not null default 0,
    -- With this one it ends.
    upto_id           integer not null default 0,
    -- Copies that were read, that were passed over because their volume was away or failing, and that were not what was
    -- recorded; and how many there were when it began.
    checked           integer not null default 0,
    checked_bytes     integer not null default 0,
    skipped           integer not null default 0,
    damaged           integer not null default 0,
    copies            integer not null default 0,
    bytes             integer not null default 0,
    -- When the next one begins by itself.
    next_us           integer not null,
    -- The last one that ended, and what it found; null before the first.
    ended_us          integer,
    ended_damaged     integer
) strict;
insert into scrub (id, next_us) values (1, unixepoch() * 1000000 + 3600000000);

-- Copies that it found damaged, until they are whole again or let go.
create table scrub_found (
    segment_id integer not null references segment (id) on delete cascade,
    -- primary or mirror.
    place      text    not null,
    primary key (segment_id, place)
) strict, without rowid;
