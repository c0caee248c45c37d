//! Certificates for the processes of a run, and the networks that they speak: told in their environment, the same to programs
//! in every language. Without these they speak HTTP/2 without TLS.

use std::path::Path;

use quark_certs::Folder;
use quark_core::{Identity, Tls, Transports};

use crate::Result;

const TRANSPORT: &str = "CHAOS_TRANSPORT";
const AUTHORITY: &str = "CHAOS_AUTHORITY";
const CERTIFICATE: &str = "CHAOS_CERTIFICATE";
const KEY: &str = "CHAOS_KEY";
/// Longer than any run.
const VALID: time::Duration = time::Duration::days(7);

/// The certificates of one cluster.
pub(crate) struct Security(Option<(Folder, String)>);

impl Security {
    /// An authority of its own below `folder`; nothing where no transport is asked for.
    pub(crate) fn new(folder: &Path, transport: Option<&str>) -> Result<Self> {
        let Some(transport) = transport else { return Ok(Self(None)) };
        let _: Transports = transport.parse()?;
        let certificates = Folder::new(folder.join("certificates"));
        certificates.create(VALID)?;
        Ok(Self(Some((certificates, transport.to_owned()))))
    }

    /// What a process of this id is told.
    pub(crate) fn of(&self, id: &str, is_client: bool) -> Vec<(&'static str, String)> {
        let Some((folder, transport)) = &self.0 else { return Vec::new() };
        let identity = if is_client { Identity::client("chaos", id) } else { Identity::silo("chaos", id) };
        let identity = identity.expect("a name that certificates may have");
        let (certificate, key) = folder.issue(&identity, VALID).expect("a folder that was written to before");
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![
            (TRANSPORT, transport.clone()),
            (AUTHORITY, text(&folder.authority())),
            (CERTIFICATE, text(&certificate)),
            (KEY, text(&key)),
        ]
    }
}

/// What this process was told.
pub(crate) fn told() -> Result<Option<(Transports, Tls)>> {
    let Ok(transport) = std::env::var(TRANSPORT) else { return Ok(None) };
    let tls =
        Tls::new(std::env::var(AUTHORITY)?).certificate(std::env::var(CERTIFICATE)?, std::env::var(KEY)?);
    Ok(Some((transport.parse()?, tls)))
}
