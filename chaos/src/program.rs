//! The Rust program of a run: a silo or a client that writes a ledger and makes calls, like `silo.c` and `silo.py`.
//!
//! All of them are started as `PROGRAM silo|client ID LIFE MEMBERSHIP CLUSTER HOST LEDGER RATE` and say `ready ENDPOINT`
//! on their standard output. Told `quiet` on their standard input, they make no more calls and say `quiet` when all have
//! ended; when it is closed, they leave in the midst of calling.

use std::sync::Arc;
use std::time::Duration;

use quark_core::{Error, ErrorKind, Request};

use crate::Result;
use crate::load::Load;
use crate::node::{Node, Surroundings, commands, log_to_stderr};
use crate::record::{Record, now};

/// How long calls may take to end after the program has left; none should need it.
const LAST_ENDINGS: Duration = Duration::from_secs(2);

pub(crate) async fn run(words: &[&str]) -> Result<()> {
    let &[role, id, life, url, cluster, host, ledger, rate] = words else {
        return Err("usage: quark-chaos silo|client ID LIFE MEMBERSHIP CLUSTER HOST LEDGER RATE".into());
    };
    log_to_stderr()?;
    let around = Surroundings { url, cluster, host };
    let record = Arc::new(Record::open(ledger)?);
    let node = if role == "silo" {
        start_silo(id, life, &around, record.clone()).await?
    } else {
        Node::client(&around).await?
    };
    println!("ready {}", node.endpoint());

    let load = Load::new(node.caller().clone(), record, format!("{id}:{life}"));
    let calling = tokio::spawn(load.clone().call_until_stopped(rate.parse()?));
    let mut commands = commands();
    while let Some(command) = commands.recv().await {
        if command == "quiet" {
            load.stop();
            load.all_ended().await;
            println!("quiet {}", load.summary());
        }
    }
    node.stop().await;
    load.stop();
    calling.await?;
    tokio::time::timeout(LAST_ENDINGS, load.all_ended())
        .await
        .map_err(|_| format!("calls had not ended {LAST_ENDINGS:?} after the stop"))?;
    Ok(())
}

async fn start_silo(id: &str, life: &str, around: &Surroundings<'_>, record: Arc<Record>) -> Result<Node> {
    let name = format!("{id} {life}");
    let handler = move |request: Request| {
        let (payload, method) = (request.payload(), request.method_name().to_owned());
        let call = String::from_utf8_lossy(payload.split(|byte| *byte == b' ').next().unwrap_or_default());
        let view = request.view_version();
        record.write(&format!("ran {call} {} {name} {} {view}", request.actor_id(), now()));
        let reply = format!("{call}/{}", payload.len());
        async move {
            match method.as_str() {
                "fail" => return Err(Error::new(ErrorKind::HandlerFailed, "as it was told to")),
                "slow" => tokio::time::sleep(Duration::from_millis(200)).await,
                _ => {}
            }
            Ok(reply)
        }
    };
    Node::silo(id, around, handler).await
}
