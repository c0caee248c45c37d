//! Row 30: file descriptors run out, and come back. In a process of its own, whose limit is low.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use quark_core::{Client, Request, Silo};

const LIMIT: Duration = Duration::from_secs(30);
const CHILD: &str = "QUARK_TEST_FEW_DESCRIPTORS";

#[test]
fn row_30_accepting_pauses_while_there_are_no_descriptors_and_goes_on_when_there_are() {
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(with_few_descriptors());
    }
    let this = std::env::current_exe().unwrap();
    let script = "ulimit -n 64 && exec \"$0\" row_30 --nocapture";
    let ended = Command::new("sh").args(["-c", script]).arg(this).env(CHILD, "1").output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&said));
}

async fn with_few_descriptors() {
    let url = "memory://descriptors";
    let echo = |request: Request| async move { Ok(request.payload().clone()) };
    let silo = Silo::builder("a").membership(url.parse().unwrap()).handler(echo).start().await.unwrap();
    let early = Client::builder().membership(url.parse().unwrap()).start().await.unwrap();
    early.call(("T", "1"), "", "").timeout(LIMIT).await.unwrap();

    // Connections by strangers until there are no descriptors left; those of the silo are the same ones.
    let address = (silo.endpoint().host().to_owned(), silo.endpoint().port());
    let mut strangers = Vec::new();
    while let Ok(stranger) = TcpStream::connect((address.0.as_str(), address.1)) {
        strangers.push(stranger);
        tokio::task::yield_now().await;
    }
    assert!(strangers.len() > 10, "{}", strangers.len());
    // It cannot accept. What is linked goes on, and the runtime is not kept busy by trying.
    for _ in 0..20 {
        early.call(("T", "1"), "", "").timeout(LIMIT).await.expect("links that are there go on");
    }
    let late = Client::builder().membership(url.parse().unwrap()).start().await.unwrap();
    let call = late.call(("T", "1"), "", "").timeout(Duration::from_millis(300)).await;
    let error = call.expect_err("there are no descriptors for a link");
    assert!(error.is_retryable(), "{error}");

    drop(strangers);
    late.call(("T", "1"), "", "").timeout(LIMIT).await.expect("accepting goes on");
    silo.stop(LIMIT).await;
}
