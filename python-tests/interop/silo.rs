//! The silo of README.md in Rust.

use std::io::Read as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quark_core::{Caller, Envelope, Error, ErrorKind, Request, Result, Silo, Tls};

struct Program {
    own_type: String,
    silo: OnceLock<Caller>,
    waiting: AtomicU32,
    given_up: AtomicU32,
}

fn outcome(ending: Result<impl AsRef<[u8]>>) -> String {
    match ending {
        Ok(reply) => format!("OK {}", String::from_utf8_lossy(reply.as_ref())),
        Err(error) => format!("{} {} {}", error.kind(), error.delivered(), error.message()),
    }
}

impl Program {
    fn silo(&self) -> &Caller {
        self.silo.get().expect("requests come after the start")
    }

    async fn text(&self, actor_type: &str, method: &str, payload: &str) -> Result<String> {
        let reply = self.silo().call((actor_type, "1"), method, payload.to_owned()).await?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }

    async fn call(&self, order: &str) -> Result<String> {
        let words: Vec<&str> = order.splitn(4, ' ').collect();
        let [target, method, timeout_ms, payload] = words[..] else {
            return Err(Error::new(ErrorKind::InvalidArgument, "too few words"));
        };
        let number = |text: &str| text.parse::<usize>().expect("a number");
        let payload = match payload.strip_prefix('#') {
            Some(size) => vec![b'x'; number(size)],
            None => payload.as_bytes().to_vec(),
        };
        let timeout = Duration::from_millis(number(timeout_ms) as u64);
        Ok(outcome(self.silo().call((target, "1"), method, payload).timeout(timeout).await))
    }

    async fn cancel(&self, target: &str) -> Result<String> {
        let begun = async || {
            self.text(target, "counts", "").await.map(|counts| counts[..counts.find(' ').unwrap()].to_owned())
        };
        let before = begun().await?;
        let (tell, told) = tokio::sync::oneshot::channel();
        let envelope = Envelope::request(target, "1", "wait", "");
        let timeout = Some(Duration::from_secs(60));
        let call = self.silo().call_with(envelope, timeout, |ending| drop(tell.send(ending)));
        while begun().await? == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        call.cancel();
        Ok(outcome(told.await.expect("each call ends")))
    }

    async fn relay(&self, route: &str) -> Result<String> {
        let (next, rest) = route.split_once(' ').unwrap_or((route, ""));
        if next.is_empty() {
            return Ok(self.own_type.clone());
        }
        Ok(format!("{}>{}", self.own_type, self.text(next, "relay", rest).await?))
    }

    async fn handle(self: Arc<Self>, request: Request) -> Result<String> {
        let text = String::from_utf8_lossy(request.payload()).into_owned();
        match request.method_name() {
            "echo" => Ok(text),
            "fail" => Err(Error::new(ErrorKind::HandlerFailed, text)),
            "left" => Ok(request.time_left().as_millis().to_string()),
            "counts" => {
                let [waiting, given_up] =
                    [&self.waiting, &self.given_up].map(|count| count.load(Ordering::SeqCst));
                Ok(format!("{waiting} {given_up}"))
            }
            "relay" => self.relay(&text).await,
            "call" => self.call(&text).await,
            "cancel" => self.cancel(&text).await,
            "wait" => {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                while !request.is_abandoned() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                self.given_up.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok("nobody hears this".to_owned())
            }
            _ => Err(Error::new(ErrorKind::HandlerFailed, "no such method")),
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [id, membership, cluster, own_type, tls @ ..] = &arguments[..] else { std::process::exit(2) };
    let program = Arc::new(Program {
        own_type: own_type.clone(),
        silo: OnceLock::new(),
        waiting: AtomicU32::new(0),
        given_up: AtomicU32::new(0),
    });
    let handling = program.clone();
    let mut builder = Silo::builder(id);
    if let [authority, certificate, key, transport] = tls {
        builder = builder.tls(Tls::new(authority).certificate(certificate, key));
        builder = builder.transport(transport.parse()?);
    }
    let silo = builder
        .membership(membership.parse()?)
        .cluster(cluster)
        .handler_for(own_type, move |request: Request| handling.clone().handle(request))
        .start()
        .await?;
    drop(program.silo.set(silo.caller().clone()));
    println!("ready");
    let closed = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    drop(closed.await);
    silo.stop(Duration::from_secs(5)).await;
    Ok(())
}
