-- SHA-256 of the certificate that a camera showed first, in 64 hexadecimal digits: the only one it is talked to with.
alter table camera add column tls_fingerprint text check (length(tls_fingerprint) = 64);
-- Whether its password may go in clear (Basic over plain rtsp) if it takes nothing else.
alter table camera add column allow_basic integer not null default 0 check (allow_basic in (0, 1));
