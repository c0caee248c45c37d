//! Row 29: two silos that dial each other at the same time.

use std::time::Duration;

use quark_core::{LoopbackNetwork, Request, Silo};

/// How two silos fare that begin to call each other at once: links that remain, calls that failed.
async fn cross(seed: u64) -> (usize, Vec<String>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let network = LoopbackNetwork::with_seed(seed);
    let least = Duration::from_micros(random.u64(0..20_000));
    network.delay(least, least * random.u32(1..6));
    let silo = |id: &'static str, other: &'static str| {
        Silo::builder(id)
            .membership(format!("memory://crossing-{seed}").parse().unwrap())
            .network(&network)
            .handler_for(
                id,
                |request: Request| async move { Ok(vec![0; request.method_name().parse().unwrap()]) },
            )
            .handler_for(format!("not {other}"), |_: Request| async { Ok("") })
            .start()
    };
    let (a, b) = (silo("a", "b").await.unwrap(), silo("b", "a").await.unwrap());
    let mut calls = Vec::new();
    for i in 0..200 {
        for (from, to) in [(&a, "b"), (&b, "a")] {
            // Some replies are so large that they are on their way still when their link gives way.
            let mut size = || [10, 10, 10, 300_000, 3_000_000][random.usize(0..5)];
            let (asked, replied) = if i < 3 || i % 50 == 0 { (size(), size()) } else { (10, 10) };
            let call = from.call((to, (i % 8).to_string()), replied.to_string(), vec![0; asked]);
            let call = call.timeout(Duration::from_secs(60));
            calls.push(tokio::spawn(async move { call.await.map(|reply| reply.len() == replied) }));
        }
        tokio::time::sleep(Duration::from_micros(random.u64(0..1_000))).await;
    }
    let mut failed = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            Ok(true) => {}
            other => failed.push(format!("{other:?}")),
        }
    }
    // A link that gave way ends when its last answer has been read.
    tokio::time::sleep(Duration::from_secs(1)).await;
    (network.links("a", "b"), failed)
}

#[test]
fn row_29_two_silos_that_dial_each_other_at_once_keep_one_link_and_lose_nothing() {
    for seed in 0..200 {
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let (links, failed) = runtime.unwrap().block_on(cross(seed));
        assert!(failed.is_empty(), "seed {seed}: {} calls failed: {:?}", failed.len(), failed[0]);
        assert_eq!(links, 1, "seed {seed}");
    }
}
