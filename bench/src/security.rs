//! Certificates for those who speak TLS, in the folder that `QUARK_BENCH_CERTIFICATES` names.

use quark_certs::Folder;
use quark_core::{Identity, Tls, Transports};

const VALID: time::Duration = time::Duration::days(1);

/// What is spoken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Plain,
    Tls,
    Http3,
}

impl Over {
    pub(crate) fn of(subject: &str) -> Self {
        match subject {
            "quark-tls" => Self::Tls,
            "quark-http3" => Self::Http3,
            _ => Self::Plain,
        }
    }

    /// What a silo of this name, or a client, is told.
    pub(crate) fn security(self, silo: Option<&str>) -> Option<(Transports, Tls)> {
        let transports = match self {
            Self::Plain => return None,
            Self::Tls => Transports::HTTP2,
            Self::Http3 => Transports::HTTP3,
        };
        let folder =
            Folder::new(std::env::var("QUARK_BENCH_CERTIFICATES").expect("a folder with an authority"));
        let identity = match silo {
            Some(name) => Identity::silo("quark", name),
            None => Identity::client("quark", "bench"),
        };
        let (certificate, key) = folder.issue(&identity.expect("a name"), VALID).expect("files");
        Some((transports, Tls::new(folder.authority()).certificate(certificate, key)))
    }
}

/// Makes the authority; the folder is new.
pub(crate) fn create(folder: &str) -> bool {
    let made = Folder::new(folder).create(VALID);
    if let Err(problem) = &made {
        eprintln!("{problem}");
    }
    made.is_ok()
}
