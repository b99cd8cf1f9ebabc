//! TLS to a camera with rustls. Cameras sign their certificates themselves, so none is judged by who signed it: the pinned one is
//! accepted alone, or any if none is pinned yet. What rustls refuses of old cameras is left to rtspsrc.

use std::{
    io::{self, Read as _},
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error as TlsError,
    SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest as _, Sha256};

use crate::{
    model::status::{StreamError, StreamErrorKind},
    source::certificate_changed,
};

/// Encrypted bytes are taken from the socket in pieces of at most this size.
const CHUNK: usize = 64 * 1024;

/// Why a connection through TLS failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// For the operator.
    Stream(StreamError),
    /// rustls cannot do it; GStreamer's TLS may.
    Unsupported(String),
}

/// The client's side of one TLS connection, without its socket.
#[derive(Debug)]
pub(super) struct Tls {
    connection: ClientConnection,
    verifier: Arc<PinVerifier>,
    /// Encrypted bytes on their way into `connection`, and how many of them it has.
    chunk: Vec<u8>,
    taken: usize,
}

impl Tls {
    /// Begins a handshake with `host`, whose certificate must have the fingerprint `pinned`, if there is one.
    pub(super) fn new(host: &str, pinned: Option<String>) -> Result<Self, Failure> {
        let failed = |error: TlsError| Failure::Unsupported(format!("TLS cannot be used: {error}"));
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(PinVerifier { pinned, shown: Mutex::new(None), provider: provider.clone() });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::Unsupported(format!("{host} is no name that TLS takes")))?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(failed)?;
        Ok(Self { connection, verifier, chunk: Vec::new(), taken: 0 })
    }

    /// SHA-256 of the certificate that the camera showed, in hexadecimal digits.
    pub(super) fn fingerprint(&self) -> Option<String> {
        self.verifier.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the handshake is not over yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether something waits for [`Self::write_to`].
    pub(super) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Encrypts bytes; they leave with [`Self::write_to`].
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut self.connection.writer(), bytes)
    }

    /// Writes what is to leave, as far as the socket takes it now.
    pub(super) fn write_to(&mut self, socket: &mut impl io::Write) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(socket)?;
        }
        Ok(())
    }

    /// Reads what was decrypted, and from the socket if there is none. `Ok(0)` at the end of the connection.
    ///
    /// # Errors
    /// `WouldBlock` if there is nothing yet; others break the connection.
    pub(super) fn read_from(&mut self, socket: &mut impl io::Read, to: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(to) {
                // A camera that closes without saying so to TLS has closed all the same.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if self.taken == self.chunk.len() {
                self.chunk.resize(CHUNK, 0);
                let read = socket.read(&mut self.chunk);
                self.chunk.truncate(*read.as_ref().unwrap_or(&0));
                self.taken = 0;
                read?;
            }
            // It takes no more than what is read from it in between.
            let mut rest = self.chunk.get(self.taken..).unwrap_or_default();
            self.taken += self.connection.read_tls(&mut rest)?;
            self.connection.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Why the handshake failed.
    pub(super) fn failure(&self, error: &io::Error) -> Failure {
        let shown = self.fingerprint();
        if let (Some(pinned), Some(shown)) = (&self.verifier.pinned, &shown)
            && pinned != shown
        {
            return Failure::Stream(certificate_changed(pinned, shown));
        }
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
        match tls {
            Some(
                TlsError::PeerIncompatible(_)
                | TlsError::InvalidCertificate(_)
                | TlsError::PeerMisbehaved(_)
                | TlsError::AlertReceived(_),
            ) => {
                Failure::Unsupported(format!("its TLS is too old or unusual for the native source: {error}"))
            }
            _ => Failure::Stream(StreamError::new(
                StreamErrorKind::Protocol,
                format!("no TLS with the camera: {error}"),
            )),
        }
    }
}

/// Takes the pinned certificate alone, and notes which one was shown.
#[derive(Debug)]
struct PinVerifier {
    pinned: Option<String>,
    shown: Mutex<Option<String>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let shown: String = Sha256::digest(end_entity).iter().map(|byte| format!("{byte:02x}")).collect();
        let accepted = self.pinned.as_ref().is_none_or(|pinned| *pinned == shown);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(shown);
        if accepted {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
