-- BLAKE3 of the file, 32 bytes, computed while it was written. Null while the segment is open, and for files that
-- recovery took in: a kill takes the state of the computation with it.
alter table segment add column hash blob;
