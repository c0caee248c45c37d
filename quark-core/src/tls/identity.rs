//! What a certificate says: one URI among its subject's alternative names, `quark://<cluster>/silo/<id>` or
//! `quark://<cluster>/client/<name>`, with what is special in an id percent-encoded.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{MAX_SILO_ID_BYTES, SiloId, check_cluster, check_name};

const SCHEME: &str = "quark://";
/// What a URI may hold as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whom a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The silo with this id, in this cluster.
    Silo {
        /// The cluster's name.
        cluster: String,
        /// The silo's id.
        id: SiloId,
    },
    /// Any client of this cluster. Clients make their ids themselves; the name is for people.
    Client {
        /// The cluster's name.
        cluster: String,
        /// What the client is called.
        name: String,
    },
}

impl Identity {
    /// Of a silo.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming `cluster` or `silo_id`.
    pub fn silo(cluster: &str, id: &str) -> Result<Self> {
        check_cluster(cluster)?;
        let id = SiloId::new(id)?;
        if id.is_client() {
            return Err(Error::invalid("silo_id", id, "is that of a client"));
        }
        Ok(Self::Silo { cluster: cluster.to_owned(), id })
    }

    /// Of a client.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming `cluster` or `client`.
    pub fn client(cluster: &str, name: &str) -> Result<Self> {
        check_cluster(cluster)?;
        check_name("client", name, MAX_SILO_ID_BYTES)?;
        Ok(Self::Client { cluster: cluster.to_owned(), name: name.to_owned() })
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        match self {
            Self::Silo { cluster, .. } | Self::Client { cluster, .. } => cluster,
        }
    }

    /// The URI that stands for it in a certificate.
    #[must_use]
    pub fn uri(&self) -> String {
        let (cluster, role, name) = match self {
            Self::Silo { cluster, id } => (cluster, "silo", id.as_str()),
            Self::Client { cluster, name } => (cluster, "client", name.as_str()),
        };
        format!("{SCHEME}{cluster}/{role}/{}", utf8_percent_encode(name, ESCAPED))
    }

    fn parse(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix(SCHEME)?.split('/');
        let (cluster, role, name) = (parts.next()?, parts.next()?, parts.next()?);
        let name = percent_decode_str(name).decode_utf8().ok()?;
        let identity = match role {
            "silo" => Self::silo(cluster, &name).ok()?,
            "client" => Self::client(cluster, &name).ok()?,
            _ => return None,
        };
        // One spelling only: two that mean the same would be an invitation.
        (parts.next().is_none() && identity.uri() == uri).then_some(identity)
    }

    /// The identity among a certificate's URIs; those of other schemes mean other things.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when there is none, more than one, or one that cannot be read.
    pub(crate) fn among<'a>(uris: impl Iterator<Item = &'a str>) -> Result<Self> {
        let refused = |problem: String| Error::new(ErrorKind::Unauthenticated, problem);
        let mut ours = uris.filter(|uri| uri.starts_with(SCHEME));
        let Some(uri) = ours.next() else {
            let problem = "the certificate names no silo (a URI like quark://cluster/silo/id is missing)";
            return Err(refused(problem.to_owned()));
        };
        if let Some(other) = ours.next() {
            return Err(refused(format!("the certificate names two: {uri:?} and {other:?}")));
        }
        Self::parse(uri).ok_or_else(|| refused(format!("the certificate's name {uri:?} cannot be read")))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silo { cluster, id } => write!(f, "silo {id} of cluster {cluster}"),
            Self::Client { cluster, name } => write!(f, "client {name} of cluster {cluster}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_id_goes_through_a_uri_and_back() {
        for id in ["silo-1", "10.0.0.7:11111", "a/b?c#d%e", "σίλο α", "{x}*", "..", "%2e"] {
            let identity = Identity::silo("quark", id).unwrap();
            assert!(identity.uri().is_ascii());
            assert_eq!(Identity::parse(&identity.uri()), Some(identity));
        }
        let client = Identity::client("c.1", "dash board").unwrap();
        assert_eq!(client.uri(), "quark://c.1/client/dash%20board");
        assert_eq!(Identity::parse(&client.uri()), Some(client));
    }

    #[test]
    fn what_is_not_spelled_so_is_nobody() {
        for uri in [
            "quark://c/silo",
            "quark://c/silo/",
            "quark://c/silo/a/b",
            "quark://c/silo/a?x",
            "quark://c/silo/%61",
            "quark://c/silo/%ff",
            "quark://c/silo/a%00",
            "quark://c/silo/client%3Ax",
            "quark:///silo/a",
            "quark://c d/silo/a",
            "quark://c/king/a",
            "spiffe://c/silo/a",
        ] {
            assert_eq!(Identity::parse(uri), None, "{uri}");
        }
    }

    #[test]
    fn a_certificate_has_one_name() {
        let among = |uris: &[&str]| Identity::among(uris.iter().copied());
        assert!(among(&["spiffe://x", "quark://c/silo/a"]).is_ok());
        for bad in [&["spiffe://x"][..], &[], &["quark://c/silo/a", "quark://c/silo/b"], &["quark://c/x/y"]] {
            assert_eq!(among(bad).unwrap_err().kind(), ErrorKind::Unauthenticated);
        }
    }
}
