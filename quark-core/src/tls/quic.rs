//! The same certificates for QUIC, which makes its handshakes itself.

use std::any::Any;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ServerConfig};

use super::credentials::{Credentials, refused};
use super::{NoHandshake, Proof};
use crate::error::Result;
use crate::id::SiloId;

impl Credentials {
    /// What to dial with now.
    pub(crate) async fn quic_client(self: &Arc<Self>) -> Arc<ClientConfig> {
        self.current().await.client.http3.clone()
    }

    /// What to accept with now.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` without a certificate.
    pub(crate) async fn quic_server(self: &Arc<Self>) -> Result<Arc<ServerConfig>> {
        let current = self.current().await;
        let server = current.server.as_ref().ok_or_else(|| refused("there is no certificate to show"))?;
        Ok(server.http3.clone())
    }

    /// The bytes of the own private key: nobody else has them, and a later life of this silo has the same. Nothing without one.
    pub(crate) fn secret(&self) -> Option<Vec<u8>> {
        self.loaded().files.get(2).cloned()
    }

    /// Checks that who answered is silo `expected`, by the identity that quinn gives out.
    pub(crate) fn quic_expect(
        &self,
        identity: Option<Box<dyn Any>>,
        expected: &SiloId,
    ) -> Result<(), NoHandshake> {
        self.expect(certificates(identity).as_deref(), expected)
    }

    /// Who dialled, by the identity that quinn gives out.
    pub(crate) fn quic_proof(&self, identity: Option<Box<dyn Any>>) -> Result<Proof> {
        self.proof(certificates(identity).as_deref())
    }
}

fn certificates(identity: Option<Box<dyn Any>>) -> Option<Vec<CertificateDer<'static>>> {
    identity?.downcast().ok().map(|certificates| *certificates)
}

impl NoHandshake {
    /// What a QUIC error's number says of TLS; nothing when it is about something else.
    pub(crate) fn of_quic(code: u64, ours: bool, words: &str) -> Option<Self> {
        // RFC 9001, 4.8: alerts are numbered from 0x100.
        let alert = code.checked_sub(0x100).and_then(|alert| u8::try_from(alert).ok())?;
        Some(Self::of_alert(alert, ours, words))
    }
}
