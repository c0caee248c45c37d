//! Making certificates. Pure: nothing is read or written.

use quark_core::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

/// Clocks differ: what is made now is valid since so long ago.
const BEFORE: Duration = Duration::hours(1);

/// An authority: a key, and the certificate that says that it may sign others.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, both PEM.
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key (PKCS #8).
    pub key: String,
}

impl Authority {
    /// A new one, whose certificate is valid for this long.
    ///
    /// # Errors
    /// What the cryptography says; it has no reason to.
    pub fn new(valid: Duration) -> Result<(Self, Issued), String> {
        let key = KeyPair::generate().map_err(text)?;
        let mut params = params(&key);
        (params.not_before, params.not_after) = from_now(valid);
        let certificate = params.self_signed(&key).map_err(text)?.pem();
        let issued = Issued { certificate, key: key.serialize_pem() };
        Ok((Self { issuer: Issuer::new(params, key) }, issued))
    }

    /// The one that has this private key.
    ///
    /// # Errors
    /// What is wrong with the key.
    pub fn of_key(key: &str) -> Result<Self, String> {
        let key = KeyPair::from_pem(key).map_err(text)?;
        Ok(Self { issuer: Issuer::new(params(&key), key) })
    }

    /// A certificate for a silo or for a client, valid for this long from now; one that has expired when that is negative.
    ///
    /// It is for signatures only (no key is encrypted with it in TLS 1.3), names whom it is for by one URI, and may be shown by
    /// the side that dials; by the one that is dialled too if it is a silo's.
    ///
    /// # Errors
    /// What the cryptography says; it has no reason to.
    pub fn issue(&self, identity: &Identity, valid: Duration) -> Result<Issued, String> {
        let mut params = CertificateParams::default();
        let uri = identity.uri().try_into().map_err(text)?;
        params.subject_alt_names.push(SanType::URI(uri));
        params.distinguished_name.push(DnType::CommonName, "Quark");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(identity, Identity::Silo { .. }) {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = from_now(valid);
        let key = KeyPair::generate().map_err(text)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(text)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }
}

fn params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    // By its name a certificate says who signed it; each key has another one.
    let [.., a, b, c, d] = key.public_key_raw() else { unreachable!("a key is longer") };
    let name = format!("Quark development authority {a:02x}{b:02x}{c:02x}{d:02x}");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn from_now(valid: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    ((now - BEFORE).min(now + valid - BEFORE), now + valid)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
