//! Reading a whole file back, for what only its bytes tell. Never on the way of footage to the disk: what is recorded
//! is hashed while it is written.

use std::io::Read as _;

use rustix::fs::{Advice, fadvise};

use super::{Error, failed, volume::Volume};
use crate::model::segment::Hash;

const BLOCK_BYTES: usize = 1 << 20;

/// Hashes a file from its first byte to its last, as it is on the medium: what the kernel still holds of it in memory
/// is dropped before, because after a failed sync that would lie, and after, so that it displaces nothing.
pub fn hash(volume: &Volume, path: &str) -> Result<Hash, Error> {
    hash_paced(volume, path, |_| true)
}

/// The same; `go_on` hears of each block and says whether to go on. [`Error::Stopped`] if not.
pub fn hash_paced(volume: &Volume, path: &str, mut go_on: impl FnMut(u64) -> bool) -> Result<Hash, Error> {
    let mut file = volume.open_segment_file(path)?.file;
    let forget = |file: &std::fs::File| {
        // Only advice: a file system that does not take it costs nothing but the memory.
        let _ = fadvise(file, 0, None, Advice::DontNeed);
    };
    forget(&file);
    let (mut hasher, mut block) = (blake3::Hasher::new(), vec![0; BLOCK_BYTES]);
    loop {
        let read = match file.read(&mut block) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(failed("read", path, source)),
        };
        hasher.update(&block[..read]);
        if !go_on(read as u64) {
            return Err(Error::Stopped { path: path.into() });
        }
    }
    forget(&file);
    Ok(Hash(*hasher.finalize().as_bytes()))
}
