-- When a camera is recorded, and what of it. Cameras from before are recorded continuously, as they were.
alter table camera add column record_mode        text    not null default 'continuous';
-- JSON, the rows as the API has them: a schedule is read and written whole, with its camera, and never asked for by row.
alter table camera add column schedule           text    not null default '[]' check (json_valid(schedule));
-- An IANA name; null is the zone of the service.
alter table camera add column time_zone          text;
alter table camera add column pre_roll_seconds   integer not null default 10 check (pre_roll_seconds between 0 and 60);
alter table camera add column post_roll_seconds  integer not null default 30 check (post_roll_seconds between 0 and 3600);
alter table camera add column event_idle_session integer not null default 1 check (event_idle_session in (0, 1));
alter table camera add column record_audio       integer not null default 0 check (record_audio in (0, 1));
