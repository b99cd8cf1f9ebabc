-- Warnings and errors are few among what is merely told; these two hold only them. The id comes first, because the log
-- is read newest first.
create index event_grave on event (id, severity) where severity <> 'info';
create index event_grave_by_camera on event (camera_id, id, severity) where severity <> 'info';
