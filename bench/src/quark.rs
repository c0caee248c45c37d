//! Quark's side: through the public API, as any Rust program would use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quark_core::{Caller, Client, Request, Silo};
use tokio::sync::mpsc;

use crate::load::Load;
use crate::meter::Meter;
use crate::security::Over;
use crate::until_dismissed;

/// Of the calls that are made beside small ones.
const LARGE: usize = 1024 * 1024;

fn echo(request: Request) -> std::future::Ready<quark_core::Result<Bytes>> {
    std::future::ready(Ok(request.payload().clone()))
}

async fn silo(name: &str, over: Over) -> Silo {
    let mut silo = Silo::builder(name).membership("static://".parse().expect("a URL")).handler(echo);
    if let Some((transports, tls)) = over.security(Some(name)) {
        silo = silo.transport(transports).tls(tls);
    }
    silo.start().await.expect("a silo")
}

async fn client(load: &Load, over: Over) -> Client {
    let url = format!("static://{}", load.targets).parse().expect("a URL");
    let mut client = Client::builder().membership(url);
    if let Some((transports, tls)) = over.security(None) {
        client = client.transport(transports).tls(tls);
    }
    client.start().await.expect("a client")
}

pub(crate) async fn serve(name: &str, over: Over) {
    let silo = silo(name, over).await;
    println!("ready {}", silo.endpoint());
    until_dismissed().await;
    silo.stop(Duration::from_secs(1)).await;
}

/// How the calls are made.
pub(crate) enum Way {
    /// A future for each.
    Futures,
    /// `call_with`: a function for each.
    Functions,
    /// One-way, in windows whose last one is a call, so that no more are under way than the server can take.
    Notifications,
    /// As futures, while one caller after the other moves 1 MiB there and back.
    BesideLarge,
}

pub(crate) async fn call(load: Load, way: Way, over: Over) {
    let client = client(&load, over).await;
    measure(client.caller().clone(), load, way).await;
    client.stop(Duration::from_secs(1)).await;
}

/// A silo that calls itself.
pub(crate) async fn call_itself(load: Load) {
    let silo = silo("server", Over::Plain).await;
    measure(silo.caller().clone(), load, Way::Futures).await;
    silo.stop(Duration::from_secs(1)).await;
}

async fn measure(caller: Caller, load: Load, way: Way) {
    let calls =
        Calls { caller, payload: vec![7; load.payload].into(), ids: load.ids().into(), next: Arc::default() };
    match way {
        Way::Futures => futures(calls, load).await,
        Way::Functions => functions(calls, load).await,
        Way::Notifications => one_way(calls, load).await,
        Way::BesideLarge => {
            let mut large = calls.clone();
            large.payload = vec![7; LARGE].into();
            // Of another actor: what is sent to one actor arrives in order, small behind large.
            large.ids = ["large".to_owned()].into();
            large.next = Arc::default();
            let large = tokio::spawn(async move {
                loop {
                    large.call().await;
                }
            });
            futures(calls, load).await;
            large.abort();
        }
    }
}

/// Who calls whom with what.
#[derive(Clone)]
struct Calls {
    caller: Caller,
    payload: Bytes,
    ids: Arc<[String]>,
    next: Arc<AtomicUsize>,
}

impl Calls {
    /// The next actor's id.
    fn id(&self) -> &str {
        &self.ids[self.next.fetch_add(1, Ordering::Relaxed) % self.ids.len()]
    }

    fn call(&self) -> impl Future<Output = ()> + Send + use<> {
        let (call, size) =
            (self.caller.call(("Device", self.id()), "Echo", self.payload.clone()), self.payload.len());
        async move { assert_eq!(call.await.expect("a reply").len(), size) }
    }
}

async fn futures(calls: Calls, load: Load) {
    Meter::new(load).run(move || calls.call()).await;
}

async fn one_way(calls: Calls, load: Load) {
    let (window, lanes) = (load.depth, Load { depth: 1, ..load });
    let call = move || {
        let calls = calls.clone();
        async move {
            for _ in 1..window {
                let payload = calls.payload.clone();
                calls.caller.notify(("Device", calls.id()), "Echo", payload).await.expect("a queue");
            }
            calls.call().await;
        }
    };
    Meter::of_many(lanes, window as u64).run(call).await;
}

/// Each ending makes the next call.
async fn functions(calls: Calls, load: Load) {
    let meter = Meter::new(load);
    run_functions(&calls, &meter, meter.load.warm_up).await;
    let begun = meter.begin();
    run_functions(&calls, &meter, meter.load.measured).await;
    meter.report(&begun);
}

async fn run_functions(calls: &Calls, meter: &Arc<Meter>, time: Duration) {
    let (ended, mut endings) = mpsc::unbounded_channel();
    let end = Instant::now() + time;
    for _ in 0..meter.load.depth {
        call_with(calls.clone(), meter.clone(), end, ended.clone());
    }
    for _ in 0..meter.load.depth {
        endings.recv().await;
    }
}

fn call_with(calls: Calls, meter: Arc<Meter>, end: Instant, ended: mpsc::UnboundedSender<()>) {
    let (began, caller) = (Instant::now(), calls.caller.clone());
    caller.call(("Device", calls.id()), "Echo", calls.payload.clone()).with(move |reply| {
        let now = Instant::now();
        assert_eq!(reply.expect("a reply").len(), calls.payload.len());
        meter.record(now - began);
        if now < end {
            call_with(calls, meter, end, ended);
        } else {
            let _ = ended.send(());
        }
    });
}
