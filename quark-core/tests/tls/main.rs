//! TLS between silos: who is let in, who is not, and what they are told. Certificates are real ones, made for each test.

/// The same tests over HTTP/2 and over HTTP/3.
macro_rules! over_both {
    ($($name:ident)+) => {
        mod http2 {
            $(#[tokio::test] async fn $name() { super::$name(quark_core::Transports::HTTP2).await; })+
        }
        mod http3 {
            $(#[tokio::test] async fn $name() { super::$name(quark_core::Transports::HTTP3).await; })+
        }
    };
}

mod impostor;
mod killed;
mod lives;
mod quic;
mod support;

use quark_certs::Authority;
use quark_core::{ErrorKind, Identity, Tls, TransportConfig, Transports};
use time::Duration;

use self::support::{Certificates, Host, but, plain, refused, silo_identity, with};

const DAY: Duration = Duration::days(1);

over_both! {
    silos_and_clients_with_certificates_call_each_other
    an_identity_with_special_characters_is_proved_too
    whoever_is_not_the_one_who_was_dialled_is_told_nothing
    a_certificate_of_another_cluster_is_refused_on_either_side
    a_certificate_of_an_authority_that_is_not_trusted_is_refused_on_either_side
    a_certificate_that_has_expired_is_refused_with_its_reason
    a_client_without_a_certificate_gets_in_only_where_that_is_said
}

async fn silos_and_clients_with_certificates_call_each_other(over: Transports) {
    let certificates = Certificates::new(over);
    let a = Host::start("a", certificates.silo("a")).await;
    let b = Host::start("b", certificates.silo("b")).await;
    let client = Host::start("client:1", certificates.client("dashboard")).await;
    for (from, to) in [(&a, &b), (&b, &a), (&client, &a)] {
        from.connect(to).await.unwrap();
        let said = from.call(to, "hello").await.unwrap();
        assert_eq!(said, format!("{} heard hello from {}", to.id, from.id));
    }
}

async fn an_identity_with_special_characters_is_proved_too(over: Transports) {
    let certificates = Certificates::new(over);
    let a = Host::start("10.0.0.7:11111/a b%σ", certificates.silo("10.0.0.7:11111/a b%σ")).await;
    let b = Host::start("b", certificates.silo("b")).await;
    b.connect(&a).await.unwrap();
}

async fn whoever_is_not_the_one_who_was_dialled_is_told_nothing(over: Transports) {
    let certificates = Certificates::new(over);
    let a = Host::start("a", certificates.silo("a")).await;
    let b = Host::start("b", certificates.silo("b")).await;
    // As when a row points an id at somebody else's endpoint.
    let error = refused(a.connect_as("c", &b).await);
    assert!(error.message().contains("silo c was dialled, the certificate there is of silo b"), "{error}");
    assert_eq!(b.heard(), 0);
}

async fn a_certificate_of_another_cluster_is_refused_on_either_side(over: Transports) {
    let certificates = Certificates::new(over);
    let other = but(certificates.silo_of("other", "b"), |config| config.cluster = "other".to_owned());
    let a = Host::start("a", certificates.silo("a")).await;
    let b = Host::start("b", other).await;
    assert!(refused(a.connect(&b).await).message().contains("of cluster other"));
    assert!(refused(b.connect(&a).await).message().contains("of cluster quark"));
}

async fn a_certificate_of_an_authority_that_is_not_trusted_is_refused_on_either_side(over: Transports) {
    let (ours, theirs) = (Certificates::new(over), Certificates::new(over));
    let a = Host::start("a", ours.silo("a")).await;
    let b = Host::start("b", theirs.silo("b")).await;
    let error = refused(a.connect(&b).await);
    assert!(error.message().contains("from an authority that is not trusted here"), "{error}");
    // It trusts our authority, and shows a certificate of another one.
    theirs.trust(&[&theirs, &ours]);
    let c = Host::start("c", theirs.silo("c")).await;
    let error = refused(c.connect(&a).await);
    assert!(
        error.message().contains("does not trust the authority of the certificate shown here"),
        "{error}"
    );
}

async fn a_certificate_that_has_expired_is_refused_with_its_reason(over: Transports) {
    let certificates = Certificates::new(over);
    let a = Host::start("a", certificates.silo("a")).await;
    // One cannot start with an expired one, so it expires while the silo runs.
    let b = Host::start("b", certificates.silo_for("b", Duration::seconds(2))).await;
    let error = support::until_refused(&a, &b).await;
    assert!(error.message().contains("certificate has expired"), "{error}");
    let error = support::until_refused(&b, &a).await;
    assert!(error.message().contains("certificate shown here has expired"), "{error}");
    assert!(error.message().contains(&a.endpoint().to_string()), "the other side is named: {error}");
}

#[tokio::test]
async fn what_does_not_speak_tls_is_never_spoken_to_without() {
    let certificates = Certificates::new(Transports::HTTP2);
    let safe = Host::start("safe", certificates.silo("safe")).await;
    let open = Host::start("open", plain()).await;
    let error = refused(open.connect(&safe).await);
    assert!(error.message().contains("the peer speaks TLS, and none is set here"), "{error}");
    let error = refused(safe.connect(&open).await);
    assert!(error.message().contains("does not speak TLS"), "{error}");
    assert_eq!((safe.heard(), open.heard()), (0, 0));
}

#[tokio::test]
async fn a_call_that_cannot_be_authenticated_ends_at_once_with_the_reason() {
    let certificates = Certificates::new(Transports::HTTP2);
    let safe = Host::start("safe", certificates.silo("safe")).await;
    let open = Host::start("open", plain()).await;
    let _ = open.connect(&safe).await;
    let error = open.call(&safe, "hello").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(error.delivered(), quark_core::Delivered::No);
}

async fn a_client_without_a_certificate_gets_in_only_where_that_is_said(over: Transports) {
    let certificates = Certificates::new(over);
    let nameless = but(with(Tls::new(certificates.authority())), |config| config.transport = over);
    let strict = Host::start("strict", certificates.silo("strict")).await;
    let open = but(certificates.silo("open"), |config| config.anonymous_clients = true);
    let open = Host::start("open", open).await;
    let client = Host::start("client:1", nameless).await;
    assert!(refused(client.connect(&strict).await).message().contains("asks for a certificate"));
    client.connect(&open).await.unwrap();
    assert_eq!(client.call(&open, "hello").await.unwrap(), "open heard hello from client:1");
}

#[test]
fn certificates_that_do_not_fit_are_named_with_what_is_wrong() {
    let (certificates, others) = (Certificates::new(Transports::HTTP2), Certificates::new(Transports::HTTP2));
    let problem = |id: &str, config: TransportConfig| support::not_made(id, config);
    let text = problem("client:1", with(Tls::new("/nowhere/ca.pem")));
    assert!(text.starts_with("tls.authority=\"/nowhere/ca.pem\": No such file"), "{text}");

    let another = problem("b", certificates.silo("a"));
    assert!(another.starts_with("tls.certificate="), "{another}");
    assert!(
        another.ends_with("the certificate is of silo a of cluster quark, this is silo b of cluster quark"),
        "{another}"
    );
    let cluster = problem("a", certificates.silo_of("other", "a"));
    assert!(cluster.contains("silo a of cluster other, this is silo a of cluster quark"), "{cluster}");
    let client = problem("a", certificates.client("a"));
    assert!(client.contains("tls.certificate"), "{client}");

    let expired = problem("a", certificates.silo_for("a", -DAY));
    assert!(expired.contains("the certificate has expired"), "{expired}");
    let stranger = others.files(&silo_identity("a"), DAY);
    let tls = Tls::new(certificates.authority()).certificate(stranger.0, stranger.1);
    let untrusted = problem("a", with(tls));
    assert!(untrusted.contains("from an authority that is not trusted here"), "{untrusted}");

    let (a, b) = (certificates.files(&silo_identity("a"), DAY), certificates.files(&silo_identity("b"), DAY));
    let swapped = Tls::new(certificates.authority()).certificate(&a.0, &b.1);
    let text = problem("a", with(swapped));
    assert!(text.contains("tls.certificate"), "{text}");
    let no_key = Tls::new(certificates.authority()).certificate(&a.0, &a.0);
    let text = problem("a", with(no_key));
    assert!(text.starts_with("tls.key=") && text.contains("holds no private key"), "{text}");
    let no_certificate = Tls::new(&a.1).certificate(&a.0, &a.1);
    let text = problem("a", with(no_certificate));
    assert!(text.starts_with("tls.authority=") && text.contains("holds no certificate"), "{text}");
}

#[test]
fn an_authority_signs_for_others_and_others_do_not() {
    // Whoever has a silo's key is no authority: its certificate signs nothing that is believed.
    let certificates = Certificates::new(Transports::HTTP2);
    let (_, key) = certificates.files(&silo_identity("a"), DAY);
    let forger = Authority::of_key(&std::fs::read_to_string(key).unwrap()).unwrap();
    let forged = forger.issue(&silo_identity("b"), DAY).unwrap();
    let (certificate, key) = certificates.put("forged", &forged);
    let tls = Tls::new(certificates.authority()).certificate(certificate, key);
    let text = support::not_made("b", with(tls));
    assert!(text.contains("tls.certificate"), "{text}");
}

#[tokio::test]
async fn beyond_this_machine_nothing_goes_without_tls_unless_that_is_said() {
    let here = Host::start("here", plain()).await;
    let error = refused(here.connect_to("there", "192.0.2.1:1").await);
    assert!(error.message().contains("beyond this machine"), "{error}");
    assert!(error.message().contains("allow_plaintext"), "{error}");
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let error = Host::try_listening("a", listen, plain()).await.err().unwrap();
        assert!(error.message().starts_with(&format!("listen={listen}: ")), "{error}");
        assert!(error.message().contains("allow_plaintext"), "{error}");
        let config = but(plain(), |config| config.allow_plaintext = true);
        assert!(Host::try_listening("a", listen, config).await.is_ok());
    }
    for listen in ["localhost:0", "127.0.0.2:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        assert!(Host::try_listening("a", listen, plain()).await.is_ok(), "{listen}");
    }
    let certificates = Certificates::new(Transports::HTTP2);
    assert!(Host::try_listening("a", "0.0.0.0:0", certificates.silo("a")).await.is_ok());
}

#[test]
fn gossip_beyond_this_machine_needs_permission() {
    use quark_core::{Membership, MembershipConfig};
    for bind in ["0.0.0.0:7946", "[::]:7946", "10.0.0.1:0", "some-host:7946"] {
        let url = format!("gossip://{bind}").parse().unwrap();
        let mut config = MembershipConfig::default();
        let error = Membership::new(&url, config.clone()).err().unwrap();
        assert!(
            error.message().starts_with("membership=") && error.message().contains("allow_plaintext"),
            "{error}"
        );
        config.allow_plaintext = true;
        assert!(Membership::new(&url, config).is_ok());
    }
    for bind in ["127.0.0.1:0", "localhost:0", "[::1]:0"] {
        let url = format!("gossip://{bind}").parse().unwrap();
        assert!(Membership::new(&url, MembershipConfig::default()).is_ok());
    }
}

#[test]
fn a_client_s_name_is_no_silo_s() {
    assert!(Identity::silo("quark", "client:1").is_err());
}
