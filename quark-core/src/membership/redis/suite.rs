//! What a store must do, whichever it is: the suite of the one in Redis and of the one that simulations use.
//!
//! For Redis, `QUARK_TEST_REDIS` names a server.

use std::time::Duration;

use super::commands::RedisServer;
use super::store::{Server, Store, Subscription as _, Word, Written, find_originals};
use crate::id::SiloId;
use crate::membership::MembershipUrl;
use crate::membership::judge::Row;
use crate::silo_info::SiloInfo;

const TTL: Duration = Duration::from_secs(60);

fn id(id: &str) -> SiloId {
    id.parse().unwrap()
}

fn silo(name: &str, incarnation: u64, port: u16) -> SiloInfo {
    let mut info = SiloInfo::new(id(name), format!("127.0.0.1:{port}").parse().unwrap());
    info.incarnation = incarnation;
    info
}

/// `id/incarnation`, `-lives`, or `?`.
fn shown(row: &Row) -> String {
    match row {
        Row::Readable(info) => format!("{}/{}", info.silo_id, info.incarnation),
        Row::Missing { lives } => format!("-{lives}"),
        Row::Unreadable | Row::Away => "?".to_owned(),
    }
}

async fn row(store: &impl Store, name: &str) -> String {
    shown(&store.rows(vec![id(name)]).await.unwrap()[name])
}

/// `again`, `anew`, or what stood in the way.
async fn write(store: &impl Store, info: &SiloInfo) -> String {
    let pulse = store.pulse(Some(&info.silo_id), TTL).await.unwrap();
    match store.write_row(info, pulse.now, TTL).await.unwrap() {
        Written::Again => "again".to_owned(),
        Written::Anew => "anew".to_owned(),
        Written::Not(row) => shown(&row),
    }
}

fn redis() -> RedisServer {
    let url = std::env::var("QUARK_TEST_REDIS").expect("QUARK_TEST_REDIS names a Redis server for tests");
    let MembershipUrl::Redis(url) = url.parse().unwrap() else { panic!("{url} is of no Redis") };
    RedisServer::new(url, None, &format!("suite-{}", uuid::Uuid::new_v4())).unwrap()
}

macro_rules! suite {
    ($($promise:ident)+) => {
        mod in_redis { $(#[tokio::test] async fn $promise() { super::$promise(super::redis()).await })+ }
        mod in_simulations { $(#[tokio::test] async fn $promise() { super::$promise(crate::membership::redis::simulation::a_store()).await })+ }
    };
}

suite! {
    a_row_is_written_and_read_and_expires
    a_later_life_is_not_written_over_and_neither_is_the_same_one_elsewhere
    of_two_that_saw_the_same_only_the_first_claims
    an_ended_life_is_counted_and_the_row_of_another_life_stays
    the_count_and_the_version_come_back_and_never_fall
    the_index_knows_who_wrote_and_who_is_overdue
    votes_are_counted_by_voter_and_life
    subscribers_hear_both_channels
    rows_are_found_without_an_index
    a_row_that_comes_back_into_the_index_is_news
    who_changed_since_a_version_is_told_or_nothing_is
    ids_may_look_like_patterns
}

async fn a_row_is_written_and_read_and_expires(server: impl Server) {
    let store = server.connect().await.unwrap();
    assert_eq!(row(&store, "a").await, "-0");
    assert_eq!(write(&store, &silo("a", 3, 1)).await, "anew");
    assert_eq!(row(&store, "a").await, "a/3");
    let pulse = store.pulse(Some(&id("a")), TTL).await.unwrap();
    assert_eq!((shown(&pulse.own_row).as_str(), pulse.lives), ("a/3", 3));
    store.write_row(&silo("a", 3, 1), pulse.now, Duration::from_millis(20)).await.unwrap();
    while row(&store, "a").await == "a/3" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(row(&store, "a").await, "-3");
}

async fn a_later_life_is_not_written_over_and_neither_is_the_same_one_elsewhere(server: impl Server) {
    let store = server.connect().await.unwrap();
    write(&store, &silo("a", 3, 1)).await;
    assert_eq!(write(&store, &silo("a", 2, 2)).await, "a/3");
    assert_eq!(write(&store, &silo("a", 3, 2)).await, "a/3");
    assert_eq!(write(&store, &silo("a", 3, 1)).await, "again");
    assert_eq!(write(&store, &silo("a", 4, 2)).await, "anew");
    assert_eq!(row(&store, "a").await, "a/4");
}

async fn of_two_that_saw_the_same_only_the_first_claims(server: impl Server) {
    let store = server.connect().await.unwrap();
    for incarnation in [1, 5] {
        let (_, seen, _) = store.look_up(&id("a")).await.unwrap();
        assert!(store.claim_row(&silo("a", incarnation, 1), &seen, TTL).await.unwrap());
        assert!(!store.claim_row(&silo("a", incarnation + 1, 2), &seen, TTL).await.unwrap());
        let (found, _, lives) = store.look_up(&id("a")).await.unwrap();
        assert_eq!((shown(&found), lives), (format!("a/{incarnation}"), incarnation));
    }
    assert_eq!(store.index().await.unwrap(), [id("a")]);
}

async fn an_ended_life_is_counted_and_the_row_of_another_life_stays(server: impl Server) {
    let store = server.connect().await.unwrap();
    write(&store, &silo("a", 3, 1)).await;
    store.end_life(&silo("a", 2, 1)).await.unwrap();
    assert_eq!(row(&store, "a").await, "a/3");
    store.end_life(&silo("a", 3, 1)).await.unwrap();
    assert_eq!(row(&store, "a").await, "-4");
    assert!(store.index().await.unwrap().is_empty());
    store.end_life(&silo("a", 3, 1)).await.unwrap();
    assert_eq!(row(&store, "a").await, "-4", "a second time changes nothing");
}

async fn the_count_and_the_version_come_back_and_never_fall(server: impl Server) {
    let store = server.connect().await.unwrap();
    assert_eq!(store.version().await.unwrap(), None);
    write(&store, &silo("a", 3, 1)).await;
    let first = store.version().await.unwrap().expect("a heartbeat makes one");
    write(&store, &silo("a", 3, 1)).await;
    assert_eq!(store.version().await.unwrap(), Some(first), "a heartbeat is no news");
    store.tell(Word::Join, &id("a")).await.unwrap();
    assert!(store.version().await.unwrap() > Some(first));
    store.end_life(&silo("b", 8, 1)).await.unwrap();
    write(&store, &silo("b", 2, 1)).await;
    assert_eq!(store.look_up(&id("b")).await.unwrap().2, 9);
}

async fn the_index_knows_who_wrote_and_who_is_overdue(server: impl Server) {
    let store = server.connect().await.unwrap();
    write(&store, &silo("a", 1, 1)).await;
    store.index_add(&[id("b"), id("c")]).await.unwrap();
    let before = store.version().await.unwrap();
    store.index_remove(&[id("c")]).await.unwrap();
    assert!(store.version().await.unwrap() > before);
    let mut index = store.index().await.unwrap();
    index.sort();
    assert_eq!(index, [id("a"), id("b")]);
    assert!(store.pulse(None, TTL).await.unwrap().overdue.is_empty());
    tokio::time::sleep(Duration::from_millis(30)).await;
    let mut overdue = store.pulse(None, Duration::from_millis(10)).await.unwrap().overdue;
    overdue.sort();
    assert_eq!(overdue, [id("a"), id("b")]);
}

async fn votes_are_counted_by_voter_and_life(server: impl Server) {
    let store = server.connect().await.unwrap();
    let (life, later) = (silo("x", 1, 1), silo("x", 2, 1));
    assert_eq!(store.vote(&id("a"), &life).await.unwrap(), 1);
    assert_eq!(store.vote(&id("a"), &life).await.unwrap(), 1);
    assert_eq!(store.vote(&id("b"), &life).await.unwrap(), 2);
    assert_eq!(store.vote(&id("b"), &later).await.unwrap(), 1);
    store.withdraw_vote(&id("a"), &life).await.unwrap();
    assert_eq!(store.vote(&id("b"), &life).await.unwrap(), 1);
}

async fn subscribers_hear_both_channels(server: impl Server) {
    let store = server.connect().await.unwrap();
    let mut subscription = server.subscribe().await.unwrap();
    assert!(subscription.is_alive().await);
    store.tell(Word::Join, &id("a:b")).await.unwrap();
    store.ask_to_look(&silo("a:b", 7, 1)).await.unwrap();
    store.end_life(&silo("a:b", 7, 1)).await.unwrap();
    for expected in ["join:a:b", "suspect:7:a:b", "leave:a:b"] {
        assert_eq!(subscription.next().await.as_deref(), Some(expected));
    }
}

async fn rows_are_found_without_an_index(server: impl Server) {
    let store = server.connect().await.unwrap();
    write(&store, &silo("ours", 1, 1)).await;
    let original = SiloInfo { protocol_version: None, ..silo("original", 0, 2) };
    write(&store, &original).await;
    store.index_remove(&[id("ours"), id("original")]).await.unwrap();
    let found =
        async |need| find_originals(&store, need).await.unwrap().iter().map(shown).collect::<Vec<_>>();
    assert_eq!(
        (found(true).await, found(false).await),
        (vec!["original/0".to_owned()], vec!["original/0".to_owned()])
    );
    assert!(
        store.index_add(&[id("original")]).await.unwrap()
            && !store.index_add(&[id("original")]).await.unwrap()
    );
    assert_eq!(
        (found(true).await, found(false).await),
        (vec!["original/0".to_owned()], vec!["original/0".to_owned()])
    );
    // Those who kept the index are gone, and hide nobody.
    store.index_remove(&[id("original")]).await.unwrap();
    store.index_add(&[id("gone")]).await.unwrap();
    assert_eq!(
        (found(true).await, found(false).await),
        (vec!["original/0".to_owned()], vec!["original/0".to_owned()])
    );
    // Somebody of ours is there and sees to it; but who must know looks himself.
    store.index_add(&[id("ours")]).await.unwrap();
    assert_eq!((found(true).await, found(false).await), (vec!["original/0".to_owned()], vec![]));
}

async fn a_row_that_comes_back_into_the_index_is_news(server: impl Server) {
    let store = server.connect().await.unwrap();
    let silo = silo("a", 3, 1);
    assert_eq!(
        (write(&store, &silo).await, write(&store, &silo).await),
        ("anew".to_owned(), "again".to_owned())
    );
    store.index_remove(&[id("a")]).await.unwrap();
    // Who read the index meanwhile does not know of it.
    assert_eq!(
        (write(&store, &silo).await, write(&store, &silo).await),
        ("anew".to_owned(), "again".to_owned())
    );
}

async fn who_changed_since_a_version_is_told_or_nothing_is(server: impl Server) {
    let store = server.connect().await.unwrap();
    assert_eq!(store.changes(7).await.unwrap(), None, "there is no version");
    write(&store, &silo("a", 3, 1)).await;
    let first = store.version().await.unwrap().unwrap();
    let since = async |version| {
        let changes = store.changes(version).await.unwrap()?;
        Some((changes.version, changes.ids.iter().map(SiloId::to_string).collect::<Vec<_>>()))
    };
    assert_eq!(since(first).await, Some((first, vec![])));
    store.tell(Word::Join, &id("a:b")).await.unwrap();
    let second = store.version().await.unwrap().unwrap();
    store.index_remove(&[id("c"), id("d")]).await.unwrap();
    store.end_life(&silo("a", 3, 1)).await.unwrap();
    let last = store.version().await.unwrap().unwrap();
    assert_eq!(since(first).await, Some((last, ["a", "a:b", "c", "d"].map(str::to_owned).to_vec())));
    assert_eq!(since(second).await, Some((last, ["a", "c", "d"].map(str::to_owned).to_vec())));
    assert_eq!(since(first + 1).await, None, "another history");
    store.end_life(&silo("a", 3, 1)).await.unwrap();
    assert_eq!(since(last).await, Some((last, vec![])), "what was done is told once");
}

async fn ids_may_look_like_patterns(server: impl Server) {
    let store = server.connect().await.unwrap();
    for name in ["*", "{x}", "a:b", "σίλο [a-z]?"] {
        write(&store, &silo(name, 1, 1)).await;
        assert_eq!(row(&store, name).await, format!("{name}/1"));
        store.end_life(&silo(name, 1, 1)).await.unwrap();
        assert_eq!(row(&store, name).await, "-2");
    }
}
