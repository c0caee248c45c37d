//! Why a handshake failed, in words that say which side has to do what.

use std::io;

use rustls::{AlertDescription, CertificateError, Error as TlsError, PeerIncompatible};

use crate::error::{Error, ErrorKind};

/// What an error of a connection's bytes says of TLS; nothing when it is about something else.
pub(crate) fn reason(error: &io::Error) -> Option<Error> {
    let inner = error.get_ref()?.downcast_ref::<TlsError>()?;
    Some(Error::new(ErrorKind::Unauthenticated, text(inner)))
}

/// Why there is no connection after a handshake.
#[derive(Debug)]
pub(crate) enum NoHandshake {
    /// The connection broke.
    Broken(Error),
    /// A silo or client of this cluster answered, and it is not the one that was dialled.
    SomebodyElse(Error),
    /// What the peer showed was good once, or will be; so it is there.
    Expired(Error),
    /// Nothing is known of who it is.
    Untrusted(Error),
}

impl NoHandshake {
    pub(super) fn of(error: io::Error) -> Self {
        let Some(said) = reason(&error) else {
            let message = format!("the connection ended during the TLS handshake: {error}");
            return Self::Broken(Error::new(ErrorKind::Unreachable, message));
        };
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(TlsError::InvalidCertificate(problem)) if is_about_time(problem) => Self::Expired(said),
            _ => Self::Untrusted(said),
        }
    }
}

impl NoHandshake {
    /// The same where only the number of an alert is known and perhaps some words, as over QUIC. It is ours, or the peer's.
    pub(super) fn of_alert(alert: u8, ours: bool, words: &str) -> Self {
        let alert = AlertDescription::from(alert);
        if !ours {
            return Self::Untrusted(Error::new(ErrorKind::Unauthenticated, alert_text(alert)));
        }
        let text = match alert {
            AlertDescription::CertificateExpired => format!("the peer's certificate has expired ({words})"),
            AlertDescription::UnknownCA => certificate(&CertificateError::UnknownIssuer),
            AlertDescription::CertificateRequired => text(&TlsError::NoCertificatesPresented),
            _ => format!("the peer's certificate cannot be accepted: {words}"),
        };
        let error = Error::new(ErrorKind::Unauthenticated, text);
        match alert {
            AlertDescription::CertificateExpired => Self::Expired(error),
            _ => Self::Untrusted(error),
        }
    }
}

impl From<NoHandshake> for Error {
    fn from(failed: NoHandshake) -> Self {
        match failed {
            NoHandshake::Broken(error)
            | NoHandshake::SomebodyElse(error)
            | NoHandshake::Expired(error)
            | NoHandshake::Untrusted(error) => error,
        }
    }
}

fn is_about_time(problem: &CertificateError) -> bool {
    matches!(
        problem,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
}

pub(super) fn text(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(problem) => certificate(problem),
        TlsError::NoCertificatesPresented => "the peer shows no certificate".to_owned(),
        TlsError::AlertReceived(alert) => alert_text(*alert),
        TlsError::InvalidMessage(_) => "the peer does not speak TLS".to_owned(),
        TlsError::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => "the peer does not speak TLS 1.3".to_owned(),
        other => format!("TLS: {other}"),
    }
}

fn certificate(problem: &CertificateError) -> String {
    match problem {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the peer's certificate has expired ({problem})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the peer's certificate is not valid yet ({problem})")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the peer's certificate is from an authority that is not trusted here".to_owned()
        }
        other => format!("the peer's certificate cannot be accepted: {other}"),
    }
}

/// What the other side says of us.
fn alert_text(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the peer asks for a certificate, and none is set here".to_owned()
        }
        AlertDescription::UnknownCA => {
            "the peer does not trust the authority of the certificate shown here".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "the peer says that the certificate shown here has expired".to_owned()
        }
        other => format!("the peer refused the TLS handshake: {other:?}"),
    }
}

/// Whether these first bytes from a peer are TLS's way of saying no: it speaks TLS, and took us for somebody who does not.
pub(crate) fn is_alert(first: &[u8]) -> bool {
    matches!(first, [0x15, 0x03, ..])
}
