//! TLS 1.3 between silos: whose certificate says what, and the handshake that proves it. The types of rustls stay here.
//!
//! A certificate names a cluster and a silo in it ([`Identity`]); host names play no part, because a silo may be reached
//! by any of them. `credentials` holds what the files held when they were last read; a carrier has them make its
//! handshakes, and gets a [`Proof`] of who is at the other end.

mod credentials;
mod identity;
mod quic;
mod reason;
mod verify;

use std::path::{Path, PathBuf};

pub(crate) use self::credentials::{Credentials, NAME};
pub use self::identity::Identity;
pub(crate) use self::reason::{NoHandshake, is_alert, reason};
pub(crate) use tokio_rustls::TlsStream;

/// Where a silo or a client finds its certificate, and whom it trusts. PEM files, which are looked at again when a link is made,
/// at most once a second: replaced files are taken without a restart, links that are there go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub(crate) authority: PathBuf,
    pub(crate) own: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Trusts certificates that one of the authorities in this file has signed. Without [`certificate`](Self::certificate) it
    /// serves only a client of a cluster that lets in clients without one.
    pub fn new(authority: impl Into<PathBuf>) -> Self {
        Self { authority: authority.into(), own: None }
    }

    /// Shows this certificate (the file has it first and then those between it and the authority's, if any), whose private key
    /// is in the other file.
    #[must_use]
    pub fn certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.own = Some((certificate.into(), key.into()));
        self
    }

    fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let own = self.own.as_ref();
        let own = own.map(|(certificate, key)| [("tls.certificate", certificate), ("tls.key", key)]);
        let authority = ("tls.authority", self.authority.as_path());
        std::iter::once(authority).chain(own.into_iter().flatten().map(|(name, path)| (name, path.as_path())))
    }
}

/// What is proved of who is at the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing: it is not encrypted.
    Plaintext,
    /// It showed no certificate, and clients may do that here.
    Anonymous,
    /// Its certificate says this.
    Certificate(Identity),
}
