//! What a large cluster costs its store, and how soon all know of a change, on the simulated store, network and clock:
//! counts do not depend on the machine. `cargo xtask scale --simulated N` prints it.
//!
//! The model: an operation reaches the store within 1 ms and keeps it busy for 5 µs, one after the other; a message is with all
//! who listen at once; a probe takes 2 ms. Silos compute in no time.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::server::{SharedStore, Work};
use super::world::{Network, Running};
use crate::membership::Role;
use crate::silo_info::SiloInfo;

const SERVICE: Duration = Duration::from_micros(5);
const REST: Duration = Duration::from_secs(30);
/// A heartbeat and some.
const AFTER: Duration = Duration::from_secs(11);
const LIMIT: Duration = Duration::from_secs(60);

struct Site {
    store: SharedStore,
    network: Network,
}

impl Site {
    async fn start(&self, number: usize) -> Running {
        let endpoint = format!("10.0.0.1:{}", number + 1).parse().unwrap();
        let mut info = SiloInfo::new(format!("silo-{number:05}").parse().unwrap(), endpoint);
        // Serves nothing, so that nobody makes rings.
        info.actor_types = Some(Vec::new());
        let endpoint = info.endpoint.clone();
        Running::start_as(Role::Member(info), &self.store, &self.network, &endpoint, time::Duration::ZERO)
            .await
            .unwrap()
    }
}

/// When all have so many silos in their views, since then.
async fn all_see(silos: &[Running], count: usize, since: Instant) -> Duration {
    while !silos.iter().all(|silo| silo.views.current().silos().len() == count) {
        assert!(since.elapsed() < LIMIT, "not all see {count} silos after {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    since.elapsed()
}

fn each(before: Work, after: Work, count: usize) -> String {
    let each = |before: u64, after: u64| (after - before) as f64 / count as f64;
    format!(
        "{:.2} | {:.2} | {:.2}",
        each(before.operations, after.operations),
        each(before.rows, after.rows),
        each(before.messages, after.messages)
    )
}

#[test]
fn a_change_costs_each_silo_of_a_large_cluster_no_more_than_one_of_a_small() {
    let count: usize = std::env::var("QUARK_SCALE_AGENTS").map_or(60, |text| text.parse().expect("a number"));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let site = Site { store: SharedStore::default(), network: Network::default() };
        site.store.set_service(SERVICE);
        println!("| {count} silos, for each | seen by all after | operations | rows read | messages |\n|---|---|---|---|---|");
        let (before, began) = (site.store.work(), Instant::now());
        let silos = join_all((0..count).map(|number| site.start(number))).await;
        let took = all_see(&silos, count, began).await;
        tokio::time::sleep(AFTER * 2).await;
        println!("| start of all at once | {took:?} | {} |", each(before, site.store.work(), count));

        let before = site.store.work();
        tokio::time::sleep(REST).await;
        let resting = site.store.work();
        println!("| {} s of rest | – | {} |", REST.as_secs(), each(before, resting, count));
        let done = |before: Work, after: Work| {
            let (operations, rows) = (after.operations - before.operations, after.rows - before.rows);
            (operations as f64 / count as f64, rows as f64 / count as f64)
        };
        let rest = AFTER.as_secs_f64() / REST.as_secs_f64();
        let (operations, rows) = done(before, resting);

        let (mut beyond, mut comer) = (Vec::new(), None);
        for change in ["join", "leave", "join", "kill"] {
            let (before, began) = (site.store.work(), Instant::now());
            match (change, comer.take()) {
                ("join", _) => comer = Some(site.start(count).await),
                ("leave", Some(silo)) => Running::leave(silo).await.unwrap(),
                (_, killed) => drop::<Option<Running>>(killed),
            }
            let took = all_see(&silos, count + usize::from(comer.is_some()), began).await;
            tokio::time::sleep(AFTER).await;
            let after = site.store.work();
            println!("| {change}, and {} s after it | {took:?} | {} |", AFTER.as_secs(), each(before, after, count));
            let of_change = done(before, after);
            beyond.push((of_change.0 - operations * rest, of_change.1 - rows * rest));
        }
        let is_little = |(operations, rows): &(f64, f64)| *operations < 12.0 && *rows < 16.0;
        assert!(beyond.iter().all(is_little), "operations and rows read for a change, for each: {beyond:?}");
    });
}
