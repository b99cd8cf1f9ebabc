-- What the mirror holds of a camera, where one is configured. Cameras from before are mirrored as they are recorded.
alter table camera add column mirror_enabled integer not null default 1 check (mirror_enabled in (0, 1));
alter table camera add column mirror_mode    text    not null default 'recorded';
