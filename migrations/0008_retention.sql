-- What a camera may keep; null: no limit of its own.
alter table camera add column retention_hours integer check (retention_hours > 0);
alter table camera add column quota_bytes     integer check (quota_bytes > 0);

-- A time range of which no footage may be deleted.
create table hold (
    -- Never used twice, because URLs hold it.
    id         integer primary key autoincrement,
    -- No foreign key: footage outlives the camera's settings. A camera with holds is not deleted.
    camera_id  text    not null,
    from_us    integer not null,
    to_us      integer not null check (to_us > from_us),
    -- What for, for people.
    reason     text    not null,
    created_us integer not null
) strict;

create index hold_by_camera on hold (camera_id, from_us, to_us);

-- How many holds the segment touches; kept by the triggers below. State gets a word more: deleting, for a row whose file
-- is being deleted.
alter table segment add column holds integer not null default 0 check (holds >= 0);

-- What may go, oldest first: this alone is read to find it.
create index segment_leaving on segment (camera_id, start_us) where holds = 0 and state in ('closed', 'suspect');
-- What was begun to be deleted; holds a handful of rows.
create index segment_deleting on segment (state) where state = 'deleting';

-- Sums of each camera's footage on disk, kept by the triggers below, so that nobody adds up the history.
create table stored (
    camera_id  text    not null primary key,
    segments   integer not null,
    bytes      integer not null,
    -- Those of segments that are held.
    held_bytes integer not null,
    -- Where deleted footage ends: what lies before it without a gap was there once.
    gone_us    integer
) strict;

insert into stored (camera_id, segments, bytes, held_bytes)
select camera_id, count(*), sum(bytes), 0 from segment where state not in ('lost', 'deleting') group by camera_id;

create trigger segment_added after insert on segment begin
    insert into stored (camera_id, segments, bytes, held_bytes)
    select new.camera_id, 1, new.bytes, 0 where new.state not in ('lost', 'deleting')
        on conflict (camera_id) do update set segments = segments + 1, bytes = bytes + excluded.bytes;
    -- Counted by `segment_changed`.
    update segment
       set holds = (select count(*) from hold
                     where camera_id = new.camera_id and from_us < new.end_us and to_us > new.start_us)
     where id = new.id and exists (select 1 from hold where camera_id = new.camera_id);
end;

create trigger segment_moved after update of camera_id, start_us, end_us on segment
    when (select count(*) from hold
           where camera_id = new.camera_id and from_us < new.end_us and to_us > new.start_us) <> new.holds
begin
    update segment
       set holds = (select count(*) from hold
                     where camera_id = new.camera_id and from_us < new.end_us and to_us > new.start_us)
     where id = new.id;
end;

create trigger segment_changed after update of camera_id, bytes, state, holds on segment
    when (old.camera_id, old.bytes, old.state, old.holds) <> (new.camera_id, new.bytes, new.state, new.holds)
begin
    update stored
       set segments = segments - 1, bytes = bytes - old.bytes, held_bytes = held_bytes - iif(old.holds > 0, old.bytes, 0)
     where camera_id = old.camera_id and old.state not in ('lost', 'deleting');
    insert into stored (camera_id, segments, bytes, held_bytes)
    select new.camera_id, 1, new.bytes, iif(new.holds > 0, new.bytes, 0)
     where new.state not in ('lost', 'deleting')
        on conflict (camera_id) do update
       set segments = segments + 1, bytes = bytes + excluded.bytes, held_bytes = held_bytes + excluded.held_bytes;
end;

create trigger segment_removed after delete on segment begin
    update stored
       set segments = segments - 1, bytes = bytes - old.bytes, held_bytes = held_bytes - iif(old.holds > 0, old.bytes, 0)
     where camera_id = old.camera_id and old.state not in ('lost', 'deleting');
    update stored set gone_us = max(coalesce(gone_us, old.end_us), old.end_us) where camera_id = old.camera_id;
end;

-- The whole queue of the camera up to the end of the hold is looked at, once: how long a segment may be is not bounded.
create trigger hold_added after insert on hold begin
    update segment set holds = holds + 1
     where camera_id = new.camera_id and start_us < new.to_us and end_us > new.from_us;
end;

create trigger hold_removed after delete on hold begin
    update segment set holds = holds - 1
     where camera_id = old.camera_id and start_us < old.to_us and end_us > old.from_us;
end;
