//! Certificates that change while silos run.

use quark_core::Transports;
use time::Duration;

use crate::support::{Certificates, Host, silo_identity, until_connected, until_refused};

const DAY: Duration = Duration::days(1);

over_both! {
    an_authority_is_replaced_and_no_call_is_lost
    a_certificate_that_has_expired_is_renewed_without_a_restart
    files_that_cannot_be_used_change_nothing
}

async fn an_authority_is_replaced_and_no_call_is_lost(over: Transports) {
    let certificates = Certificates::new(over);
    let a = Host::start("a", certificates.silo("a")).await;
    let b = Host::start("b", certificates.silo("b")).await;
    a.connect(&b).await.unwrap();
    let calls = async {
        loop {
            a.call(&b, "hello").await.unwrap();
        }
    };
    let replacement = async {
        assert_eq!(certificates.folder().rotate(DAY).unwrap(), 2);
        for id in ["a", "b"] {
            certificates.files(&silo_identity(id), DAY);
        }
        assert_eq!(certificates.folder().retire().unwrap(), 1);
        // Trusts the new authority only, so both sides must have taken what it signed.
        let c = Host::start("c", certificates.silo("c")).await;
        for other in [&a, &b] {
            until_connected(&c, other).await;
            until_connected(other, &c).await;
        }
    };
    tokio::select! {
        () = calls => unreachable!("they go on"),
        () = replacement => {}
    }
    assert!(b.heard() > 0);
}

async fn a_certificate_that_has_expired_is_renewed_without_a_restart(over: Transports) {
    let certificates = Certificates::new(over);
    let a = Host::start("a", certificates.silo("a")).await;
    let b = Host::start("b", certificates.silo_for("b", Duration::seconds(2))).await;
    a.connect(&b).await.unwrap();
    until_refused(&a, &b).await;
    certificates.files(&silo_identity("b"), DAY);
    until_connected(&a, &b).await;
    assert_eq!(a.call(&b, "hello").await.unwrap(), "b heard hello from a");
}

async fn files_that_cannot_be_used_change_nothing(over: Transports) {
    let certificates = Certificates::new(over);
    let a = Host::start("a", certificates.silo("a")).await;
    let b = Host::start("b", certificates.silo("b")).await;
    let (certificate, key) = certificates.folder().files(&silo_identity("b"));
    let stranger = Certificates::new(over).files(&silo_identity("b"), DAY);
    let half_written = std::fs::read_to_string(&certificate).unwrap().split_at(100).0.to_owned();
    let not_the_key = std::fs::read_to_string(certificates.files(&silo_identity("x"), DAY).1).unwrap();
    let (good_certificate, good_key) = (std::fs::read(&certificate).unwrap(), std::fs::read(&key).unwrap());
    drop(stranger);
    for (file, text) in
        [(&certificate, half_written.as_str()), (&certificate, ""), (&key, not_the_key.as_str())]
    {
        std::fs::write(file, text).unwrap();
        // Longer than what was read is taken for what is there.
        for _ in 0..12 {
            a.transport.disconnect("b");
            a.connect(&b).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        std::fs::write(&certificate, &good_certificate).unwrap();
        std::fs::write(&key, &good_key).unwrap();
    }
    std::fs::remove_file(&key).unwrap();
    a.transport.disconnect("b");
    a.connect(&b).await.unwrap();
}
