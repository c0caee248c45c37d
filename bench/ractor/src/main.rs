//! ractor_cluster: an actor in one process, calls from another over its own network layer, each process on a one-thread runtime. A message
//! is as long as an envelope.

// One actor is all that it calls.
#[allow(dead_code)]
#[path = "../../src/load.rs"]
mod load;
#[path = "../../src/meter.rs"]
mod meter;
#[path = "../../src/usage.rs"]
mod usage;

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, call_t, pg};
use ractor_cluster::{NodeServer, NodeServerMessage, RactorClusterMessage};
use tokio::io::AsyncReadExt as _;

use load::Load;
use meter::Meter;

const HEAD: usize = 117;
const GROUP: &str = "echo";
/// For one answer, in milliseconds.
const LIMIT: u64 = 30_000;

#[derive(RactorClusterMessage)]
enum Message {
    #[rpc]
    Echo(Vec<u8>, RpcReplyPort<Vec<u8>>),
}

struct Echo;

impl Actor for Echo {
    type Msg = Message;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<Message>, (): ()) -> Result<(), ActorProcessingErr> {
        pg::join(GROUP.to_owned(), vec![myself.get_cell()]);
        Ok(())
    }

    async fn handle(
        &self,
        _myself: ActorRef<Message>,
        message: Message,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let Message::Echo(payload, reply) = message;
        Ok(reply.send(payload)?)
    }
}

/// A node and its port, which nothing else tells when the system has chosen it.
async fn node(name: &str) -> (ActorRef<NodeServerMessage>, u16) {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = free.expect("a port").port();
    let node =
        NodeServer::new(port, "cookie".to_owned(), name.to_owned(), "localhost".to_owned(), None, None)
            .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (node, _) = Actor::spawn(None, node, ()).await.expect("a node");
    (node, port)
}

async fn serve(name: &str) {
    let (_node, port) = node(name).await;
    let _echo = Actor::spawn(None, Echo, ()).await.expect("an actor");
    println!("ready 127.0.0.1:{port}");
    let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
}

async fn call(load: Load) {
    let (node, _) = node("caller").await;
    ractor_cluster::client_connect(&node, load.address()).await.expect("a connection");
    let mut members = Vec::new();
    while members.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
        members = pg::get_members(&GROUP.to_owned());
    }
    let echo: ActorRef<Message> = members.swap_remove(0).into();
    let size = HEAD + load.payload;
    let call = move || {
        let echo = echo.clone();
        async move {
            let answer = call_t!(echo, Message::Echo, LIMIT, vec![7; size]).expect("an answer");
            assert_eq!(answer.len(), size);
        }
    };
    Meter::new(load).run(call).await;
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match *words {
        ["serve", _, name] => runtime.block_on(serve(name)),
        ["call", _, ref words @ ..] if let Some(load) = Load::of(words) => runtime.block_on(call(load)),
        _ => return ExitCode::from(2),
    }
    std::process::exit(0);
}
