//! Users that may do what docs/REDIS.md says, and no more.

use quark_core::ErrorKind;

use crate::refused_at_once;
use crate::servers::{Nodes, Server, Watched};
use crate::support::{Cluster, info, listener, sees};

/// The words of the line for this user that docs/REDIS.md tells people to use.
fn documented(user: &str) -> Vec<String> {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/REDIS.md");
    let docs = std::fs::read_to_string(docs).expect("docs/REDIS.md is there");
    let start = format!("ACL SETUSER {user} ");
    let line = docs.lines().find(|line| line.starts_with(&start)).expect("it has the ACL line");
    line.split(' ').map(str::to_owned).collect()
}

/// A server that has the documented user of a silo, but for what `but` takes away or changes.
async fn server_with(cluster: &Cluster, but: impl Fn(&str) -> Option<String>) -> Server {
    let server = Server::start(&[]).await;
    add_user(&server, cluster, "quark", but).await;
    server
}

async fn add_user(server: &Server, cluster: &Cluster, user: &str, but: impl Fn(&str) -> Option<String>) {
    let words = documented(user).into_iter().filter_map(|word| but(&word));
    let words = words.map(|word| match word.as_str() {
        ">PASSWORD" => ">canary-s3cret".to_owned(),
        _ => word.replace("quark:", &format!("{}:", cluster.config.cluster)),
    });
    server.tell(&words.collect::<Vec<_>>().join(" ")).await;
}

/// The same cluster there, as that user.
fn at(cluster: &Cluster, server: &Server) -> Cluster {
    at_as("quark", cluster, server)
}

fn at_as(user: &str, cluster: &Cluster, server: &Server) -> Cluster {
    let mut there = Cluster::in_redis(&format!("redis://{user}:canary-s3cret@{}", server.address()));
    there.config = cluster.config.clone();
    there
}

#[tokio::test]
async fn the_documented_users_may_do_all_that_a_life_needs() {
    let cluster = Cluster::in_redis("");
    let server = server_with(&cluster, |word| Some(word.to_owned())).await;
    add_user(&server, &cluster, "quark-client", |word| Some(word.to_owned())).await;
    let mut cluster = at(&cluster, &server);
    let (a, b, c) = (cluster.member("a").await, cluster.member("b").await, cluster.member("c").await);
    let client = at_as("quark-client", &cluster, &server).observer().await;
    for silo in [&a, &b, &c] {
        sees(silo, &["a", "b", "c"]).await;
    }
    let error = cluster.try_member(info("b", &listener())).await.err().expect("the id is taken");
    assert_eq!(error.kind(), ErrorKind::IdInUse, "{error}");
    b.crash();
    for silo in [&a.membership, &c.membership, &client] {
        sees(silo, &["a", "c"]).await;
    }
    let b = cluster.member("b").await;
    sees(&client, &["a", "b", "c"]).await;
    b.stop().await.unwrap();
    sees(&a, &["a", "c"]).await;
    sees(&client, &["a", "c"]).await;
    for membership in [&a.membership, &c.membership, &client] {
        assert_eq!(membership.health().as_str(), "healthy", "{}", membership.health());
    }
    let refused: Vec<redis::Value> = server.ask("ACL LOG").await;
    assert!(refused.is_empty(), "{refused:?}");
    assert!(server.subscribers(&format!("{}:membership", cluster.config.cluster)).await >= 3);
}

#[tokio::test]
async fn the_documented_user_may_live_at_a_primary_that_sentinels_name() {
    let redis = Watched::start(60_000).await;
    let cluster = Cluster::in_redis("");
    add_user(&redis.primary, &cluster, "quark", |word| Some(word.to_owned())).await;
    live_and_leave(cluster, &redis.url().replace("://", "://quark:canary-s3cret@")).await;
}

#[tokio::test]
async fn the_documented_user_may_live_in_a_cluster() {
    let nodes = Nodes::start().await;
    let cluster = Cluster::in_redis("");
    for node in &nodes.0 {
        add_user(node, &cluster, "quark", |word| Some(word.to_owned())).await;
    }
    live_and_leave(cluster, &nodes.url().replace("://", "://quark:canary-s3cret@")).await;
}

async fn live_and_leave(cluster: Cluster, url: &str) {
    let mut there = Cluster::in_redis(url);
    there.config = cluster.config;
    let (a, b, c) = (there.member("a").await, there.member("b").await, there.member("c").await);
    sees(&a, &["a", "b", "c"]).await;
    c.crash();
    sees(&a, &["a", "b"]).await;
    sees(&b, &["a", "b"]).await;
    b.stop().await.unwrap();
    sees(&a, &["a"]).await;
    assert_eq!(a.health().as_str(), "healthy", "{}", a.health());
}

#[tokio::test]
async fn row_15_a_start_names_the_command_that_the_user_lacks() {
    // For the other forms, and for what only some silos ever do.
    let elsewhere = ["role", "cluster|slots", "asking", "select"];
    let commands: Vec<_> =
        documented("quark").iter().filter_map(|word| word.strip_prefix('+')).map(str::to_owned).collect();
    assert!(commands.len() > 15, "{commands:?}");
    for command in commands.iter().filter(|command| !elsewhere.contains(&command.as_str())) {
        let cluster = Cluster::in_redis("");
        let but = format!("+{command}");
        let server = server_with(&cluster, |word| Some(word.to_owned()).filter(|word| *word != but)).await;
        let error = refused_at_once(at(&cluster, &server)).await;
        let named = format!("NOPERM this user has no permissions to run the '{command}' command");
        assert!(
            error.message().contains(&named) && error.message().contains("docs/REDIS.md"),
            "{command}: {error}"
        );
    }
}

#[tokio::test]
async fn row_15_a_start_names_the_keys_and_channels_that_the_user_lacks() {
    for (sort, named) in [("~", "keys"), ("&", "channels")] {
        let cluster = Cluster::in_redis("");
        let server = server_with(&cluster, |word| {
            Some(if word.starts_with(sort) { format!("{sort}other:*") } else { word.to_owned() })
        })
        .await;
        let error = refused_at_once(at(&cluster, &server)).await;
        assert!(error.message().contains("NOPERM") && error.message().contains(named), "{error}");
        assert!(error.message().contains(&format!("{sort}{}:*", cluster.config.cluster)), "{error}");
    }
}
