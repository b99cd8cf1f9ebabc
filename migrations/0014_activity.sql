-- How much moved in each UTC second that a segment touches, from that of its start on: one byte each, 0..254, and 255 where
-- nothing is known. Null for segments that were not watched while they were recorded.
alter table segment add column activity blob;
-- Whether keyframes suffice while the scene is quiet.
alter table ai_task add column adaptive integer not null default 0 check (adaptive in (0, 1));
