-- What each of the two volumes has of a segment: absent, open, whole, suspect, deleting, pruned (its own retention let it
-- go), unwanted (recorded for the mirror alone). `state` follows from both, by the trigger `segment_copies`.
drop trigger segment_added;
drop trigger segment_changed;
drop trigger segment_removed;
drop index segment_leaving;
drop index segment_deleting;
drop index segment_open;

alter table segment add column on_primary text not null default 'whole';
alter table segment add column on_mirror  text not null default 'absent';
update segment set on_primary = iif(state = 'lost', 'absent', state) where state <> 'closed';

-- What a killed process left open; holds a handful of rows.
create index segment_open on segment (id) where 'open' in (on_primary, on_mirror);
-- What may go from a volume, oldest first: this alone is read to find it.
create index segment_leaving_primary on segment (camera_id, start_us)
 where holds = 0 and on_primary in ('whole', 'suspect');
create index segment_leaving_mirror on segment (camera_id, start_us) where holds = 0 and on_mirror in ('whole', 'suspect');
-- What was begun to be deleted; holds a handful of rows.
create index segment_deleting on segment (id) where 'deleting' in (on_primary, on_mirror);
-- What is to be copied from the other volume.
create index segment_due_primary on segment (camera_id, start_us)
 where on_primary in ('absent', 'suspect') and on_mirror = 'whole';
create index segment_due_mirror on segment (camera_id, start_us)
 where on_mirror in ('absent', 'suspect', 'pruned') and on_primary = 'whole';

-- Where deleted footage ends: what lies before it without a gap was there once.
create table gone (
    camera_id text    not null primary key,
    gone_us   integer not null
) strict;
insert into gone select camera_id, gone_us from stored where gone_us is not null;

-- Sums of each camera's footage on each volume, kept by the triggers below, so that nobody adds up the history.
drop table stored;
create table stored (
    camera_id  text    not null,
    -- primary or mirror.
    place      text    not null,
    segments   integer not null,
    bytes      integer not null,
    -- Those of segments that are held.
    held_bytes integer not null,
    primary key (camera_id, place)
) strict, without rowid;

insert into stored (camera_id, place, segments, bytes, held_bytes)
select camera_id, 'primary', count(*), sum(bytes), sum(iif(holds > 0, bytes, 0))
  from segment where on_primary in ('open', 'whole', 'suspect') group by camera_id;

create trigger segment_copies after update of on_primary, on_mirror on segment
    when (old.on_primary, old.on_mirror) <> (new.on_primary, new.on_mirror)
begin
    update segment
       set state = case when 'whole'    in (new.on_primary, new.on_mirror) then 'closed'
                        when 'open'     in (new.on_primary, new.on_mirror) then 'open'
                        when 'suspect'  in (new.on_primary, new.on_mirror) then 'suspect'
                        when 'deleting' in (new.on_primary, new.on_mirror) then 'deleting'
                        else 'lost' end
     where id = new.id;
end;

create trigger segment_added after insert on segment begin
    insert into stored (camera_id, place, segments, bytes, held_bytes)
    select new.camera_id, 'primary', 1, new.bytes, 0 where new.on_primary in ('open', 'whole', 'suspect')
        on conflict (camera_id, place) do update set segments = segments + 1, bytes = bytes + excluded.bytes;
    insert into stored (camera_id, place, segments, bytes, held_bytes)
    select new.camera_id, 'mirror', 1, new.bytes, 0 where new.on_mirror in ('open', 'whole', 'suspect')
        on conflict (camera_id, place) do update set segments = segments + 1, bytes = bytes + excluded.bytes;
    -- Counted by `segment_changed`.
    update segment
       set holds = (select count(*) from hold
                     where camera_id = new.camera_id and from_us < new.end_us and to_us > new.start_us)
     where id = new.id and exists (select 1 from hold where camera_id = new.camera_id);
end;

create trigger segment_changed after update of camera_id, bytes, on_primary, on_mirror, holds on segment
    when (old.camera_id, old.bytes, old.on_primary, old.on_mirror, old.holds)
      <> (new.camera_id, new.bytes, new.on_primary, new.on_mirror, new.holds)
begin
    update stored
       set segments = segments - 1, bytes = bytes - old.bytes, held_bytes = held_bytes - iif(old.holds > 0, old.bytes, 0)
     where camera_id = old.camera_id
       and (   (place = 'primary' and old.on_primary in ('open', 'whole', 'suspect'))
            or (place = 'mirror' and old.on_mirror in ('open', 'whole', 'suspect')));
    insert into stored (camera_id, place, segments, bytes, held_bytes)
    select new.camera_id, 'primary', 1, new.bytes, iif(new.holds > 0, new.bytes, 0)
     where new.on_primary in ('open', 'whole', 'suspect')
        on conflict (camera_id, place) do update
       set segments = segments + 1, bytes = bytes + excluded.bytes, held_bytes = held_bytes + excluded.held_bytes;
    insert into stored (camera_id, place, segments, bytes, held_bytes)
    select new.camera_id, 'mirror', 1, new.bytes, iif(new.holds > 0, new.bytes, 0)
     where new.on_mirror in ('open', 'whole', 'suspect')
        on conflict (camera_id, place) do update
       set segments = segments + 1, bytes = bytes + excluded.bytes, held_bytes = held_bytes + excluded.held_bytes;
end;

create trigger segment_removed after delete on segment begin
    update stored
       set segments = segments - 1, bytes = bytes - old.bytes, held_bytes = held_bytes - iif(old.holds > 0, old.bytes, 0)
     where camera_id = old.camera_id
       and (   (place = 'primary' and old.on_primary in ('open', 'whole', 'suspect'))
            or (place = 'mirror' and old.on_mirror in ('open', 'whole', 'suspect')));
    insert into gone (camera_id, gone_us) values (old.camera_id, old.end_us)
        on conflict (camera_id) do update set gone_us = max(gone_us, excluded.gone_us);
end;
