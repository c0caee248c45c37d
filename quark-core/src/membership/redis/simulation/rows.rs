//! Single faults of the store, for minutes that pass in an instant. The names begin with the row of the failure table.

use std::time::Duration;

use tokio::time::Instant;

use super::process::Process;
use super::server::SharedStore;
use super::world::{Network, Running};
use crate::id::SiloId;
use crate::membership::redis::store::{Server as _, Store as _, Written};
use crate::silo_info::SiloInfo;

/// How long what is told by nobody may take to be noticed: a heartbeat and some, or a row that expires and is missed.
const LIMIT: Duration = Duration::from_secs(70);

fn id(id: &str) -> SiloId {
    id.parse().unwrap()
}

/// Silos that share a store and a network.
struct Cluster {
    store: SharedStore,
    network: Network,
    silos: Vec<Running>,
}

impl Cluster {
    /// The clocks of its silos differ by so many seconds from one to the next.
    async fn of(ids: &[&str], skew: i64) -> Self {
        let mut cluster =
            Self { store: SharedStore::default(), network: Network::default(), silos: Vec::new() };
        for (number, id) in ids.iter().enumerate() {
            cluster.start(id, number as u16 + 1, skew * number as i64).await;
        }
        cluster.all_see(ids).await;
        cluster
    }

    async fn start(&mut self, name: &str, port: u16, skew: i64) {
        let endpoint = format!("10.0.0.1:{port}").parse().unwrap();
        let skew = time::Duration::seconds(skew);
        let started = Running::start(&self.store, &self.network, &id(name), &endpoint, skew).await;
        self.silos.push(started.unwrap());
    }

    fn take(&mut self, name: &str) -> Running {
        let at = self.silos.iter().position(|silo| silo.id.as_str() == name).unwrap();
        self.silos.remove(at)
    }

    fn see(&self, ids: &[&str]) -> bool {
        let seen = |silo: &Running| silo.sees().iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>();
        self.silos.iter().all(|silo| seen(silo) == ids)
    }

    async fn all_see(&self, ids: &[&str]) {
        let began = Instant::now();
        while !self.see(ids) {
            assert!(began.elapsed() < LIMIT, "not all see {ids:?} after {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// For so long nothing changes: no view, no life, and all serve.
    async fn stand(&self, lasting: Duration) {
        let views = || self.silos.iter().map(|silo| silo.views.current().version()).collect::<Vec<_>>();
        let (began, before) = (Instant::now(), views());
        while began.elapsed() < lasting {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(views(), before, "after {:?}", began.elapsed());
            assert!(self.silos.iter().all(Running::serves), "after {:?}", began.elapsed());
        }
    }

    fn health(&self) -> Vec<&'static str> {
        self.silos.iter().map(|silo| silo.views.health().as_str()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn row_14_a_store_that_is_away_for_ten_minutes_evicts_nobody_and_is_said() {
    let mut cluster = Cluster::of(&["a", "b", "c"], 0).await;
    cluster.store.set_away(true);
    cluster.stand(Duration::from_secs(600)).await;
    assert_eq!(cluster.health(), ["degraded"; 3]);
    cluster.store.set_away(false);
    cluster.stand(Duration::from_secs(30)).await;
    assert_eq!(cluster.health(), ["healthy"; 3]);
    cluster.start("d", 4, 0).await;
    cluster.all_see(&["a", "b", "c", "d"]).await;
}

#[tokio::test(start_paused = true)]
async fn row_14_a_store_that_is_slow_for_ten_minutes_evicts_nobody() {
    let cluster = Cluster::of(&["a", "b", "c"], 0).await;
    cluster.store.set_latency(Duration::from_millis(3_500));
    cluster.stand(Duration::from_secs(600)).await;
    cluster.store.set_latency(Duration::from_millis(1));
    cluster.stand(Duration::from_secs(60)).await;
    assert_eq!(cluster.health(), ["healthy"; 3]);
}

#[tokio::test(start_paused = true)]
async fn row_16_without_any_message_views_converge_by_reading_the_rows() {
    let mut cluster = Cluster::of(&["a", "b", "c"], 0).await;
    cluster.store.lose_messages();
    cluster.start("d", 4, 0).await;
    cluster.all_see(&["a", "b", "c", "d"]).await;
    cluster.take("b").leave().await.unwrap();
    cluster.all_see(&["a", "c", "d"]).await;
    drop(cluster.take("a"));
    cluster.all_see(&["c", "d"]).await;
}

#[tokio::test(start_paused = true)]
async fn row_16_lost_doubled_late_and_forged_messages_change_nothing() {
    let mut cluster = Cluster::of(&["a", "b", "c"], 0).await;
    cluster.store.set_bad_messages(100);
    for _ in 0..100 {
        for forged in ["leave:a", "join:b", "suspect:1:c", "leave:nobody", "", "suspect:x", "leave"] {
            cluster.store.publish(forged);
        }
    }
    cluster.stand(Duration::from_secs(60)).await;
    cluster.start("d", 4, 0).await;
    cluster.all_see(&["a", "b", "c", "d"]).await;
    cluster.take("b").leave().await.unwrap();
    cluster.all_see(&["a", "c", "d"]).await;
}

#[tokio::test(start_paused = true)]
async fn row_17_clocks_that_differ_by_an_hour_change_nothing() {
    let mut cluster = Cluster::of(&["a", "b", "c"], 3_600).await;
    cluster.stand(Duration::from_secs(300)).await;
    drop(cluster.take("b"));
    cluster.all_see(&["a", "c"]).await;
    cluster.start("b", 2, -3_600).await;
    cluster.all_see(&["a", "b", "c"]).await;
    cluster.stand(Duration::from_secs(300)).await;
}

#[tokio::test(start_paused = true)]
async fn row_18_a_restart_takes_over_at_once_and_what_the_earlier_life_does_late_does_nothing() {
    let mut cluster = Cluster::of(&["a", "b", "c"], 0).await;
    let earlier = SiloInfo::clone(cluster.silos[0].views.current().silo("b").unwrap());
    drop(cluster.take("b"));
    let began = Instant::now();
    cluster.start("b", 9, 0).await;
    assert!(began.elapsed() < Duration::from_secs(1), "it did not wait for the row to expire");
    let later = cluster.silos.last().unwrap().incarnation();
    assert!(later > earlier.incarnation);
    cluster.all_see(&["a", "b", "c"]).await;

    let late =
        cluster.store.server_for(&id("b"), &std::sync::Arc::new(Process::default()), time::Duration::ZERO);
    late.end_life(&earlier).await.unwrap();
    let pulse = late.pulse(None, Duration::from_secs(30)).await.unwrap();
    let written = late.write_row(&earlier, pulse.now, Duration::from_secs(30)).await.unwrap();
    assert!(matches!(written, Written::Not(_)));
    late.tell(crate::membership::redis::store::Word::Leave, &id("b")).await.unwrap();
    late.connect().await.unwrap();
    cluster.stand(Duration::from_secs(60)).await;
    assert!(cluster.silos.iter().all(|silo| silo.sees().contains(&(id("b"), later))));
}

#[tokio::test(start_paused = true)]
async fn row_21_an_original_silo_whose_message_was_lost_is_seen_by_all_and_by_those_who_start_later() {
    let mut cluster = Cluster::of(&["a", "b", "c"], 0).await;
    // Past the search that the first one began with.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut original = SiloInfo::new(id("original"), "10.0.0.1:99".parse().unwrap());
    original.protocol_version = None;
    cluster.network.answer(&original.silo_id, &original.endpoint);
    cluster.store.put_row(&original);
    cluster.all_see(&["a", "b", "c", "original"]).await;
    cluster.start("d", 4, 0).await;
    assert_eq!(cluster.silos[3].sees().len(), 5, "it is in the index");
    cluster.all_see(&["a", "b", "c", "d", "original"]).await;
    cluster.stand(Duration::from_secs(300)).await;
}
