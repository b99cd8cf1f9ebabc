-- Encoding of the sound in the file: aac or opus; null without.
alter table segment add column audio text;
