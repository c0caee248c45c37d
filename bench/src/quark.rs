//! Quark's side: through the public API, as any Rust program would use it.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use quark_core::{Caller, Client, Request, Silo};

use crate::meter::Meter;
use crate::{PAYLOAD, until_dismissed};

fn echo(request: Request) -> std::future::Ready<quark_core::Result<Bytes>> {
    std::future::ready(Ok(request.payload().clone()))
}

pub(crate) async fn serve() {
    let silo = Silo::builder("server").membership("static://".parse().expect("a URL")).handler(echo);
    let silo = silo.start().await.expect("a silo");
    println!("ready {}", silo.endpoint());
    until_dismissed().await;
    silo.stop(Duration::from_secs(1)).await;
}

pub(crate) async fn call(address: &str, meter: Meter) {
    let url = format!("static://server@{address}").parse().expect("a URL");
    let client = Client::builder().membership(url).start().await.expect("a client");
    measure(client.caller().clone(), meter).await;
    client.stop(Duration::from_secs(1)).await;
}

/// A silo that calls itself.
pub(crate) async fn call_itself(meter: Meter) {
    let silo = Silo::builder("server").membership("static://".parse().expect("a URL")).handler(echo);
    let silo = silo.start().await.expect("a silo");
    measure(silo.caller().clone(), meter).await;
    silo.stop(Duration::from_secs(1)).await;
}

async fn measure(caller: Caller, meter: Meter) {
    let caller = Rc::new(caller);
    let payload = Bytes::from(vec![7; PAYLOAD]);
    meter
        .run(move || {
            let (caller, payload) = (caller.clone(), payload.clone());
            async move {
                let reply =
                    caller.call(("Device", "device-0001234"), "Echo", payload).await.expect("a reply");
                assert_eq!(reply.len(), PAYLOAD);
            }
        })
        .await;
}
