-- What a camera recorded itself is fetched for what is missing.
alter table camera add column refill_enabled     integer not null default 0 check (refill_enabled in (0, 1));
-- auto, onvif or url.
alter table camera add column refill_method      text    not null default 'auto';
-- With {start} and {end}; null where the vendor's serves.
alter table camera add column refill_url         text;
-- basic, extended, underscores or unix: how they are written.
alter table camera add column refill_time_format text    not null default 'basic';
alter table camera add column onvif_port         integer not null default 80;

-- What was tried to close a gap; no row before the first attempt. Apart from the gaps, so that a day is still read from
-- their index alone. What is left of a gap has it, too.
create table gap_try (
    gap_id   integer primary key references gap (id) on delete cascade,
    attempts integer not null,
    -- Why the last attempt did not bring all.
    reason   text,
    -- Not before this.
    next_us  integer not null default 0
) strict;

-- How a camera gives its recordings away, as it was found out once; no row before, and after its settings changed.
create table refill_way (
    camera_id text primary key references camera (id) on delete cascade,
    -- onvif or url; null if neither works.
    method    text,
    detail    text    not null,
    at_us     integer not null
) strict;

-- What came from cameras' own storage: a day of it is read from this alone.
create index segment_refilled on segment (camera_id, start_us, end_us, state) where source = 'refill';
