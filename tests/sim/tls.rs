//! A certificate that a camera made for itself, as they do.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use gstreamer_rtsp_server::gio;

/// A certificate with its key. Each is another one.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    pem: String,
}

impl Certificate {
    /// Makes one with openssl, signed by itself, for a name that is not that of the machine.
    ///
    /// # Errors
    /// If openssl is missing.
    pub(crate) fn new() -> anyhow::Result<Certificate> {
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "30", "-subj", "/CN=camera.invalid", "-keyout", "-", "-out", "-"])
            .stdin(Stdio::null())
            .output()
            .context("cannot run openssl")?;
        ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        Ok(Certificate { pem: String::from_utf8(output.stdout)? })
    }

    /// For the server.
    ///
    /// # Errors
    /// If there is no TLS here: the package glib-networking has it.
    pub(crate) fn to_gio(&self) -> anyhow::Result<gio::TlsCertificate> {
        gio::TlsCertificate::from_pem(&self.pem).context("no TLS (package glib-networking)")
    }
}
