//! Row 15: Redis refuses. At the start that is an error with the reason; later the reason is in the health, and all goes on
//! by itself when it is lifted.

use std::time::Duration;

use crate::servers::Server;
use crate::support::{Cluster, Member, sees};
use crate::{degraded, healthy, refused, refused_at_once};

fn at(login: &str, server: &Server) -> Cluster {
    let mut cluster = Cluster::in_redis(&format!("redis://{login}{}", server.address()));
    cluster.config.start_timeout = Duration::from_secs(1);
    cluster
}

#[tokio::test]
async fn row_15_a_start_with_a_wrong_password_or_none_is_refused_at_once() {
    let server = Server::start(&["--requirepass", "right"]).await;
    for (login, reason) in [(":wr0ng@", "WRONGPASS"), ("ann:wr0ng@", "WRONGPASS"), ("", "NOAUTH")] {
        let error = refused_at_once(at(login, &server)).await;
        assert!(error.message().contains(reason) && error.message().contains("URL"), "{error}");
        assert!(!error.message().contains("wr0ng"), "{error}");
    }
    let open = Server::start(&[]).await;
    let error = refused_at_once(at(":wr0ng@", &open)).await;
    assert!(error.message().contains("a password that the server does not want"), "{error}");
}

#[tokio::test]
async fn row_15_a_start_says_that_there_are_too_many_clients() {
    for (arguments, login) in
        [(&["--maxclients", "1"][..], ""), (&["--maxclients", "1", "--requirepass", "x"], ":x@")]
    {
        let server = Server::start(arguments).await;
        let error = refused(at(login, &server)).await;
        assert!(error.message().contains("max number of clients reached"), "{error}");
    }
}

#[tokio::test]
async fn a_silo_for_which_there_is_only_one_connection_starts_without_a_subscription() {
    let server = Server::start(&["--maxclients", "2", "--requirepass", "x"]).await;
    let mut cluster = at(":x@", &server);
    cluster.config.start_timeout = Duration::from_secs(5);
    let a = cluster.member("a").await;
    assert_eq!(a.health().as_str(), "healthy");
}

#[tokio::test]
async fn row_15_a_start_says_that_the_memory_is_full() {
    let server = Server::start(&["--maxmemory", "1"]).await;
    let error = refused(at("", &server)).await;
    assert!(error.message().contains("OOM") && error.message().contains("maxmemory"), "{error}");
}

#[tokio::test]
async fn a_start_says_that_there_is_no_such_database() {
    let server = Server::start(&[]).await;
    let error = refused_at_once(Cluster::in_redis(&format!("{}/99", server.url()))).await;
    assert!(error.message().contains("DB index is out of range"), "{error}");
    let mut cluster = Cluster::in_redis(&format!("{}/3", server.url()));
    let a = cluster.member("a").await;
    let keys: String = server.ask("INFO keyspace").await;
    assert!(keys.contains("db3:") && !keys.contains("db0:"), "{keys}");
    drop(a);
}

/// Two silos as the user `quark`, who may do everything for now.
async fn two_silos(server: &Server) -> (Cluster, Member, Member) {
    server.tell("ACL SETUSER quark on >right ~* &* +@all").await;
    let mut cluster = Cluster::in_redis(&format!("redis://quark:right@{}", server.address()));
    let (a, b) = (cluster.member("a").await, cluster.member("b").await);
    sees(&a, &["a", "b"]).await;
    (cluster, a, b)
}

/// Takes something away while two silos run, and gives it back.
async fn refused_for_a_while(take: &[&str], reason: &str, give_back: &[&str]) {
    let server = Server::start(&[]).await;
    let (mut cluster, a, b) = two_silos(&server).await;
    let before = a.view().version();
    for command in take {
        server.tell(command).await;
    }
    for silo in [&a, &b] {
        degraded(silo, reason).await;
    }
    let since = a.health().since();
    // Longer than a row lives, and than several attempts take.
    let mut attempts = a.watch_health();
    let changed =
        tokio::time::timeout(3 * cluster.config.ttl, attempts.wait_for(|now| now.as_str() != "degraded"));
    assert!(changed.await.is_err(), "it stays degraded");
    assert_eq!(a.health().since(), since);
    assert!(a.health().to_string().contains(reason), "{}", a.health());
    for command in give_back {
        server.tell(command).await;
    }
    for silo in [&a, &b] {
        healthy(silo).await;
    }
    let c = cluster.member("c").await;
    assert_eq!(sees(&a, &["a", "b", "c"]).await.version(), before + 1, "nothing but c changed");
    drop(c);
}

const HANG_UP: [&str; 2] = ["CLIENT KILL TYPE normal", "CLIENT KILL TYPE pubsub"];

#[tokio::test]
async fn row_15_a_password_that_becomes_wrong_is_said_and_forgotten_when_it_is_right_again() {
    let take = ["ACL SETUSER quark resetpass >other", HANG_UP[0], HANG_UP[1]];
    refused_for_a_while(&take, "WRONGPASS", &["ACL SETUSER quark resetpass >right"]).await;
}

#[tokio::test]
async fn row_15_a_right_that_is_taken_away_is_said_and_forgotten_when_it_is_back() {
    let take = ["ACL SETUSER quark -zadd"];
    refused_for_a_while(&take, "no permissions to run the 'zadd' command", &["ACL SETUSER quark +zadd"])
        .await;
}

#[tokio::test]
async fn row_15_too_many_clients_are_said_and_forgotten_when_there_is_room_again() {
    let take = ["CONFIG SET maxclients 1", HANG_UP[0], HANG_UP[1]];
    refused_for_a_while(&take, "max number of clients reached", &["CONFIG SET maxclients 1000"]).await;
}

#[tokio::test]
async fn row_15_a_full_memory_is_said_and_forgotten_when_there_is_room_again() {
    let take = ["CONFIG SET maxmemory 1"];
    refused_for_a_while(&take, "OOM", &["CONFIG SET maxmemory 0"]).await;
}
