//! Redis in all its forms: a server that refuses, sentinels and their failovers, a cluster, TLS, users with few rights.
//!
//! Every test runs servers of its own, found through `QUARK_TEST_REDIS_SERVER` or the PATH.

mod acl;
mod cluster;
mod credentials;
mod refusals;
mod sentinel;
mod servers;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "other suites use the rest")]
mod support;
mod tls;

use std::time::{Duration, Instant};

use quark_core::{Error, ErrorKind, Health, Membership, Role, SiloId};

use self::support::{Cluster, LIMIT};

/// Waits until a silo says that the store is away, for this reason.
async fn degraded(membership: &Membership, reason: &str) {
    let mut health = membership.watch_health();
    let told = |health: &Health| health.as_str() == "degraded" && health.to_string().contains(reason);
    let waited = tokio::time::timeout(LIMIT, health.wait_for(told)).await;
    assert!(
        waited.is_ok(),
        "not within {LIMIT:?}: health is degraded: {reason}; it is {}",
        membership.health()
    );
}

async fn healthy(membership: &Membership) {
    let mut health = membership.watch_health();
    let waited = tokio::time::timeout(LIMIT, health.wait_for(|health| health.as_str() == "healthy")).await;
    assert!(waited.is_ok(), "not within {LIMIT:?}: health is healthy; it is {}", membership.health());
}

/// The error of a start that is refused at once, however long it may take.
async fn refused_at_once(mut cluster: Cluster) -> Error {
    cluster.config.start_timeout = Duration::from_secs(60);
    let began = Instant::now();
    let error = refused(cluster).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}: {error}", began.elapsed());
    error
}

async fn refused(mut cluster: Cluster) -> Error {
    let info = support::info("refused", &support::listener()).0;
    let error = cluster.try_start(info).await.err().expect("the start is refused");
    assert_eq!(error.kind(), ErrorKind::MembershipUnavailable, "{error}");
    error
}

/// The error of a client's start, which writes nothing.
async fn refused_client(cluster: &Cluster) -> Error {
    let membership = cluster.handle();
    let error = membership.start(Role::Observer(SiloId::new_client())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MembershipUnavailable, "{error}");
    error
}

fn key(cluster: &Cluster, rest: &str) -> String {
    format!("{}:{rest}", cluster.config.cluster)
}
