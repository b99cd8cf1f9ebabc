-- auto, native or rtspsrc: which implementation receives the camera; null: the one that the configuration names.
alter table camera add column source          text;
-- Seconds from the start of a connection attempt to the first frame.
alter table camera add column connect_seconds integer not null default 15 check (connect_seconds between 5 and 60);
