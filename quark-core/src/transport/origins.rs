//! For whom the peer of a link may speak: what its certificate says, carried over to each request. Pure.

use super::carrier::Hello;
use crate::envelope::Envelope;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::tls::{Identity, Proof};

/// The origins that the requests of one link may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origins {
    /// Any: nothing is proved without TLS.
    Any,
    /// A silo's own id; another one when the silo passes the request on, and vouches for it.
    Silo(SiloId),
    /// A client's own id: clients pass nothing on.
    Client(SiloId),
    /// None: a client that did not announce itself has no id.
    Nobody,
}

impl Origins {
    /// What somebody who dialled us may say, after this proof and this announcement.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when it announced itself as somebody whom the proof does not name.
    pub(crate) fn of(proof: &Proof, hello: Option<&Hello>) -> Result<Self> {
        let refused = |certificate: &str| {
            let claimed = hello.map(|hello| hello.silo_id.as_str()).unwrap_or_default();
            let message = format!("claims to be silo {claimed}, and {certificate}");
            Err(Error::new(ErrorKind::Unauthenticated, message))
        };
        match (proof, hello.map(|hello| &hello.silo_id)) {
            (Proof::Plaintext, _) => Ok(Self::Any),
            (Proof::Certificate(Identity::Silo { id, .. }), None) => Ok(Self::Silo(id.clone())),
            (Proof::Certificate(Identity::Silo { id, .. }), Some(claimed)) if claimed == id => {
                Ok(Self::Silo(id.clone()))
            }
            (Proof::Anonymous | Proof::Certificate(Identity::Client { .. }), None) => Ok(Self::Nobody),
            (Proof::Anonymous | Proof::Certificate(Identity::Client { .. }), Some(claimed))
                if claimed.is_client() =>
            {
                Ok(Self::Client(claimed.clone()))
            }
            (Proof::Anonymous, Some(_)) => refused("shows no certificate"),
            (Proof::Certificate(identity), Some(_)) => refused(&format!("its certificate is of {identity}")),
        }
    }

    /// Whether this request may come from there.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` with the origin that it claims.
    pub(crate) fn check(&self, request: &Envelope) -> Result<()> {
        let Envelope { origin, hop_count, .. } = request;
        let passed_on = *hop_count > 0;
        let may = match self {
            Self::Any => true,
            Self::Silo(id) => passed_on || origin.is_empty() || origin == id.as_str(),
            Self::Client(id) => !passed_on && (origin.is_empty() || origin == id.as_str()),
            Self::Nobody => !passed_on && origin.is_empty(),
        };
        if may {
            return Ok(());
        }
        let what = if passed_on { "a request passed on" } else { "a request" };
        let origin: String = origin.chars().take(64).collect();
        let message = format!("{what} with the origin {origin:?} came from one who may not speak for it");
        Err(Error::new(ErrorKind::Unauthenticated, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(id: &str) -> Hello {
        Hello { protocol: 1, cluster: "quark".to_owned(), silo_id: id.parse().unwrap(), incarnation: 1 }
    }

    fn request(origin: &str, hop_count: u32) -> Envelope {
        let mut request = Envelope::request("T", "1", "", "");
        request.origin = origin.into();
        request.hop_count = hop_count;
        request
    }

    #[test]
    fn a_peer_is_whom_its_certificate_names() {
        let silo = Proof::Certificate(Identity::silo("quark", "a").unwrap());
        let client = Proof::Certificate(Identity::client("quark", "dashboard").unwrap());
        let of = |proof: &Proof, id: Option<&str>| Origins::of(proof, id.map(hello).as_ref());
        assert!(of(&silo, Some("a")).is_ok());
        assert!(of(&silo, None).is_ok());
        for proof in [&client, &Proof::Anonymous] {
            assert!(of(proof, Some("client:1")).is_ok());
            assert!(of(proof, None).is_ok());
        }
        for (proof, id) in [(&silo, "b"), (&silo, "client:1"), (&client, "a"), (&Proof::Anonymous, "a")] {
            let error = of(proof, Some(id)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated);
            assert!(error.message().contains(id), "{error}");
        }
    }

    #[test]
    fn silos_vouch_for_what_they_pass_on_and_clients_speak_for_themselves() {
        let (silo, client) =
            (Origins::Silo("a".parse().unwrap()), Origins::Client("client:1".parse().unwrap()));
        for (origins, origin, hops) in [
            (&silo, "a", 0),
            (&silo, "", 0),
            (&silo, "b", 1),
            (&client, "client:1", 0),
            (&Origins::Nobody, "", 0),
        ] {
            assert!(origins.check(&request(origin, hops)).is_ok(), "{origins:?} {origin} {hops}");
        }
        for (origins, origin, hops) in [
            (&silo, "b", 0),
            (&client, "a", 0),
            (&client, "client:2", 0),
            (&client, "a", 1),
            (&client, "client:1", 1),
            (&Origins::Nobody, "a", 0),
            (&Origins::Nobody, "", 1),
        ] {
            let error = origins.check(&request(origin, hops)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{origins:?} {origin} {hops}");
        }
    }
}
