//! A user and a password that are asked for with each connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use quark_core::{Error, ErrorKind, Membership, RedisCredentials};

use crate::refused;
use crate::servers::Server;
use crate::support::{Cluster, sees};

fn asking(
    server: &Server,
    give: impl Fn() -> quark_core::Result<(Option<String>, String)> + Send + Sync + 'static,
) -> Cluster {
    let mut cluster = Cluster::in_redis(&server.url());
    cluster.config.redis_credentials = Some(RedisCredentials::new(give));
    cluster
}

#[tokio::test]
async fn a_password_that_changes_is_asked_for_again() {
    let server = Server::start(&["--requirepass", "canary-one"]).await;
    server.tell("AUTH canary-one").await;
    let password = Arc::new(Mutex::new("canary-one".to_owned()));
    let given = password.clone();
    let mut cluster = asking(&server, move || Ok((None, given.lock().unwrap().clone())));
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    sees(&a, &["a", "b"]).await;
    server.tell("CONFIG SET requirepass canary-two").await;
    *password.lock().unwrap() = "canary-two".to_owned();
    for kind in ["normal", "pubsub"] {
        server.tell(&format!("CLIENT KILL TYPE {kind}")).await;
    }
    let c = cluster.member("c").await;
    for silo in [&a, &b, &c] {
        sees(silo, &["a", "b", "c"]).await;
    }
}

#[tokio::test]
async fn a_user_may_be_given_too() {
    let server = Server::start(&[]).await;
    server.tell("ACL SETUSER ann on >canary-s3cret ~* &* +@all").await;
    server.tell("ACL SETUSER default off").await;
    let mut cluster = asking(&server, || Ok((Some("ann".to_owned()), "canary-s3cret".to_owned())));
    let a = cluster.member("a").await;
    sees(&a, &["a"]).await;
}

#[tokio::test]
async fn whoever_gives_none_is_heard_in_the_error() {
    let server = Server::start(&[]).await;
    let sealed = || Err(Error::new(ErrorKind::MembershipUnavailable, "the vault is sealed"));
    let mut cluster = asking(&server, sealed);
    cluster.config.start_timeout = Duration::from_millis(300);
    let error = refused(cluster).await;
    assert!(error.message().contains("redis_credentials: the vault is sealed"), "{error}");
}

#[tokio::test]
async fn whoever_never_answers_is_asked_once() {
    let server = Server::start(&[]).await;
    let (asked, (hang_up, waiting)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel::<()>());
    let (counted, waiting) = (asked.clone(), Mutex::new(waiting));
    let mut cluster = asking(&server, move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let _ = waiting.lock().unwrap().recv();
        Ok((None, "canary-late".to_owned()))
    });
    // Longer than one answer may take.
    cluster.config.start_timeout = Duration::from_millis(3_500);
    refused(cluster).await;
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    drop(hang_up);
}

#[test]
fn it_is_refused_where_it_would_not_be_asked() {
    for (url, problem) in [
        ("redis://ann:canary-s3cret@127.0.0.1:1", "has a password too"),
        ("gossip://127.0.0.1:0", "is not in Redis"),
    ] {
        let mut config = quark_core::MembershipConfig::default();
        config.redis_credentials = Some(RedisCredentials::new(|| Ok((None, "canary-s3cret".to_owned()))));
        assert!(!format!("{config:?}").contains("canary"));
        let error = Membership::new(&url.parse().unwrap(), config).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(
            error.message().starts_with("redis_credentials=") && error.message().contains(problem),
            "{error}"
        );
    }
}
