//! The Rust program of a run: a silo or a client that writes a ledger and makes calls, like `silo.c` and `silo.py`.
//!
//! All of them are started as `PROGRAM silo|client ID LIFE MEMBERSHIP CLUSTER HOST LEDGER RATE` and say `ready ENDPOINT`
//! on their standard output. Told `quiet` on their standard input, they make no more calls and say `quiet` when all have
//! ended; when it is closed, they leave in the midst of calling.

use std::io::BufRead as _;
use std::sync::Arc;
use std::time::Duration;

use quark_core::{Caller, Client, Error, ErrorKind, Request, Silo};
use tokio::sync::mpsc;

use crate::Result;
use crate::load::Load;
use crate::record::{Record, now};

/// The one actor type.
pub(crate) const ACTOR_TYPE: &str = "Ledger";
/// How long a leaving program may take over what runs.
const DRAIN: Duration = Duration::from_secs(5);
/// How long calls may take to end after the program has left; none should need it.
const LAST_ENDINGS: Duration = Duration::from_secs(2);

/// A silo or a client.
enum Node {
    Silo(Silo),
    Client(Client),
}

impl Node {
    fn caller(&self) -> &Caller {
        match self {
            Self::Silo(silo) => silo.caller(),
            Self::Client(client) => client.caller(),
        }
    }

    fn endpoint(&self) -> String {
        match self {
            Self::Silo(silo) => silo.endpoint().to_string(),
            Self::Client(_) => "-".to_owned(),
        }
    }

    async fn stop(&self) {
        match self {
            Self::Silo(silo) => silo.stop(DRAIN).await,
            Self::Client(client) => client.stop(DRAIN).await,
        }
    }
}

pub(crate) async fn run(words: &[&str]) -> Result<()> {
    let &[role, id, life, url, cluster, host, ledger, rate] = words else {
        return Err("usage: quark-chaos silo|client ID LIFE MEMBERSHIP CLUSTER HOST LEDGER RATE".into());
    };
    let log = |level, target: &str, message: &str| eprintln!("{} {level} {target} {message}", now());
    quark_core::host::set_log_sink(4, Some(Box::new(log)))?;
    let record = Arc::new(Record::open(ledger)?);
    let node = if role == "silo" {
        Node::Silo(start_silo(id, life, url, cluster, host, record.clone()).await?)
    } else {
        Node::Client(Client::builder().cluster(cluster).membership(url.parse()?).start().await?)
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

/// The lines of the standard input; none any more when it is closed.
fn commands() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::io::Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn start_silo(
    id: &str,
    life: &str,
    url: &str,
    cluster: &str,
    host: &str,
    record: Arc<Record>,
) -> Result<Silo> {
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
    let listen = format!("{host}:0").parse()?;
    let silo = Silo::builder(id)
        .cluster(cluster)
        .membership(url.parse()?)
        .listen(listen)
        .configure(|config| config.allow_plaintext = true)
        .handler_for(ACTOR_TYPE, handler)
        .start()
        .await?;
    Ok(silo)
}
