//! The Rust silo: counters, each answering with the silo's id and how often it was called here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quark_core::{Request, Silo};

use crate::Result;

pub(crate) async fn run(id: &str, url: &str, cluster: &str) -> Result<()> {
    let name = id.to_owned();
    let counters = Arc::new(Mutex::new(HashMap::<String, u64>::new()));
    let silo = Silo::builder(id)
        .cluster(cluster)
        .membership(url.parse()?)
        .handler_for("Counter", move |request: Request| {
            let mut counters = counters.lock().expect("no panic while locked");
            let count = counters.entry(request.actor_id().to_owned()).or_default();
            *count += 1;
            std::future::ready(Ok(format!("{name} {count}")))
        })
        .start()
        .await?;
    // Whoever started this reads the line, and closes our standard input when it is time to go.
    let gossip = silo.view().silo(id).and_then(|info| info.labels.get("quark.gossip").cloned());
    println!("ready {} {}", silo.endpoint(), gossip.unwrap_or_else(|| "-".to_owned()));
    let closed = std::thread::spawn(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    while !closed.is_finished() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    silo.stop(Duration::from_secs(5)).await;
    Ok(())
}
