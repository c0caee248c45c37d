//! The words that everybody shares: envelopes, rows, URLs, endpoints, traces.

use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use crate::endpoint::Endpoint;
use crate::envelope::Envelope;
use crate::error::{Error, ErrorKind};
use crate::id::SiloId;
use crate::membership::{MembershipUrl, View};
use crate::silo_info::{SiloInfo, SiloStatus};
use crate::trace;

/// An error's message is for people: it quotes, it does not repeat.
fn is_short(error: &Error) {
    assert!(error.message().len() <= 1_024, "{} bytes: {error}", error.message().len());
}

pub(super) fn envelope(bytes: &[u8]) {
    let envelope = match Envelope::decode(bytes) {
        Ok(envelope) => envelope,
        Err(error) => return is_short(&error),
    };
    assert_eq!(Envelope::decode(envelope.encode()).unwrap(), envelope);
    if let Err(error) = envelope.clone().into_result() {
        let passed_on = envelope.into_response(Err(error.clone())).into_result().unwrap_err();
        assert_eq!(passed_on.kind(), error.kind());
        assert_eq!(passed_on.delivered(), error.delivered());
        assert_eq!(passed_on.is_retryable(), error.is_retryable());
        assert!(error.message().starts_with(passed_on.message()));
    }
}

pub(super) fn silo_info(bytes: &[u8]) {
    let Ok(json) = std::str::from_utf8(bytes) else { return };
    match SiloInfo::from_json(json) {
        Ok(info) => {
            assert_eq!(SiloInfo::from_json(&info.to_json()).unwrap(), info);
            view_with(info);
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Protocol);
            is_short(&error);
        }
    }
}

/// Whatever a silo says that it keeps, every actor has an owner, and as many others come after it as there are.
fn view_with(mut info: SiloInfo) {
    info.virtual_nodes = info.virtual_nodes.min(20);
    info.status = SiloStatus::Active;
    let mut other = SiloInfo::new(SiloId::new("other").unwrap(), info.endpoint.clone());
    other.virtual_nodes = 7;
    let types = info.actor_types.iter().flatten().map(String::as_str).chain(["A", "Other"]);
    let types: Vec<_> = types.take(3).map(str::to_owned).collect();
    let view = View::new(1, [Arc::new(info), Arc::new(other)]);
    for actor_type in types {
        let ring = view.ring(&actor_type);
        let owner = view.owner(&actor_type, "1").unwrap();
        assert_eq!(view.successors(&actor_type, "1", 9).first(), Some(owner));
        assert_eq!(view.next_owners(&actor_type, "1", 9).len(), ring.len() - 1);
        assert_eq!(ring.shares().iter().sum::<f64>(), 1.0);
    }
}

/// What is printed is read back as the same.
fn travels<T: FromStr<Err = Error> + ToString + PartialEq + Debug>(value: &T) {
    assert_eq!(value.to_string().parse::<T>().unwrap(), *value);
}

pub(super) fn endpoint(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Endpoint::parse("listen", text) {
        Ok(endpoint) => {
            travels(&endpoint);
            assert!(!(endpoint.is_wildcard() && endpoint.is_loopback()));
        }
        Err(error) => {
            assert!(error.message().starts_with("listen="));
            is_short(&error);
        }
    }
    // As in a row, where the host stands alone.
    if let Ok(endpoint) = Endpoint::new(text, 1) {
        travels(&endpoint);
    }
}

/// The input is a URL, or three lines that stand around a password.
pub(super) fn membership_url(bytes: &[u8]) {
    const PASSWORD: &str = "s3cReT";
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines: Vec<_> = text.split('\n').collect();
    let [scheme, before, after] = lines[..] else { return plain_url(text) };
    // It must be told apart, and an option is one after the first question mark only.
    if text.contains(PASSWORD) || scheme.contains('?') || before.contains('?') {
        return;
    }
    // Where these are asked for a password, it is a name: of a silo, or of what silos share.
    let knows_passwords =
        |url: &String| !["static://", "memory://"].iter().any(|known| url.starts_with(known));
    let urls = [
        format!("{scheme}://{before}:{PASSWORD}@{after}"),
        format!("{scheme}:/{before}:{PASSWORD}@{after}"),
        format!("{scheme}{before}:{PASSWORD}@{after}"),
        format!("{scheme}://{before}?sentinel_password={PASSWORD}&{after}"),
    ];
    for url in urls.iter().filter(|url| knows_passwords(url)) {
        let shown = match url.parse::<MembershipUrl>() {
            Ok(url) => format!("{url} {url:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains(PASSWORD), "{url} is shown as {shown}");
        plain_url(url);
    }
}

fn plain_url(text: &str) {
    match text.parse::<MembershipUrl>() {
        Ok(MembershipUrl::Redis(url)) if url.has_password() => {
            // All but the password travels.
            let url = MembershipUrl::Redis(url);
            assert_eq!(url.to_string().parse::<MembershipUrl>().unwrap().to_string(), url.to_string());
        }
        Ok(url) => travels(&url),
        Err(error) => {
            assert!(error.message().starts_with("membership="), "{error}");
            is_short(&error);
        }
    }
}

pub(super) fn traceparent(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match trace::check(text) {
        Ok(()) if text.is_empty() => {}
        Ok(()) => {
            let fields: Vec<_> = text.splitn(5, '-').collect();
            assert_eq!(
                fields[..4].iter().map(|field| field.len()).collect::<Vec<_>>(),
                [2, 32, 16, 2],
                "{text}"
            );
            let number = |field: &str| u128::from_str_radix(field, 16).unwrap();
            assert!(number(fields[0]) != 0xFF && number(fields[1]) != 0 && number(fields[2]) != 0, "{text}");
            assert!(fields.len() == 4 || number(fields[0]) != 0, "{text}");
        }
        Err(error) => is_short(&error),
    }
}
