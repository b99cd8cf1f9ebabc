//! Secrets: a type that does not print itself, and a vault that seals them for the database.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use chacha20poly1305::{
    Key, KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use rand::RngExt as _;

const NONCE_BYTES: usize = 24;

/// A text that must not leave the process by accident: it has no `Display`, and its `Debug` is empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Every use is a place to review.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why the vault cannot be used or a secret cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key file cannot be read or made.
    #[error("cannot use the key file `{path}`")]
    KeyFile {
        /// Where it should be.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file does not hold a key.
    #[error(
        "the key file `{path}` must hold exactly 32 bytes; restore it from a backup, or remove it and set the passwords again"
    )]
    BadKey {
        /// Where it is.
        path: PathBuf,
    },
    /// What was sealed cannot be opened: another key, another owner, or damage.
    #[error("a stored secret cannot be opened with this key; set the password again")]
    Sealed,
}

/// Seals secrets with XChaCha20-Poly1305 (24 random bytes of nonce, then the ciphertext). `owner` is bound in as
/// associated data, so that a sealed value moved to another row does not open.
#[derive(Clone)]
pub struct Vault(XChaCha20Poly1305);

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(..)")
    }
}

impl Vault {
    /// Uses the 32 bytes in `path`; makes the file, readable by its owner only, if it is missing.
    pub fn open(path: &Path) -> Result<Self, VaultError> {
        let failed = |source| VaultError::KeyFile { path: path.to_owned(), source };
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Ok(mut file) => {
                let key: [u8; 32] = rand::rng().random();
                file.write_all(&key).and_then(|()| file.sync_all()).map_err(failed)?;
                if let Some(parent) = path.parent() {
                    fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed)?;
                }
                Ok(Self::with_key(&key))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::existing(path),
            Err(error) => Err(failed(error)),
        }
    }

    /// Uses the 32 bytes in `path`, which must exist.
    pub fn existing(path: &Path) -> Result<Self, VaultError> {
        let mut key = Vec::new();
        fs::File::open(path)
            .and_then(|file| file.take(64).read_to_end(&mut key))
            .map_err(|source| VaultError::KeyFile { path: path.to_owned(), source })?;
        let key = key.try_into().map_err(|_| VaultError::BadKey { path: path.to_owned() })?;
        Ok(Self::with_key(&key))
    }

    fn with_key(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(Key::from_slice(key)))
    }

    /// Seals `secret` for `owner`.
    pub fn seal(&self, owner: &str, secret: &Secret) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = rand::rng().random();
        let payload = Payload { msg: secret.reveal().as_bytes(), aad: owner.as_bytes() };
        let sealed = self.0.encrypt(XNonce::from_slice(&nonce), payload).expect("a password is no 256 GiB");
        [&nonce[..], &sealed].concat()
    }

    /// Opens what [`Vault::seal`] made for the same `owner`.
    pub fn open_sealed(&self, owner: &str, sealed: &[u8]) -> Result<Secret, VaultError> {
        let (nonce, msg) = sealed.split_at_checked(NONCE_BYTES).ok_or(VaultError::Sealed)?;
        let plain = self
            .0
            .decrypt(XNonce::from_slice(nonce), Payload { msg, aad: owner.as_bytes() })
            .map_err(|_| VaultError::Sealed)?;
        String::from_utf8(plain).map(Secret).map_err(|_| VaultError::Sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_opens_only_for_its_owner_and_key() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&dir.path().join("key")).unwrap();
        let sealed = vault.seal("front", &Secret::new("hunter2"));
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        let again = Vault::open(&dir.path().join("key")).unwrap();
        assert_eq!(again.open_sealed("front", &sealed).unwrap().reveal(), "hunter2");
        assert!(again.open_sealed("yard", &sealed).is_err());
        assert!(Vault::open(&dir.path().join("other")).unwrap().open_sealed("front", &sealed).is_err());
        assert!(again.open_sealed("front", &sealed[..10]).is_err());
        let mode = fs::metadata(dir.path().join("key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(..)");
    }

    #[test]
    fn a_short_key_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("key"), "short").unwrap();
        assert!(matches!(Vault::open(&dir.path().join("key")), Err(VaultError::BadKey { .. })));
    }
}
