//! A password in a URL is nowhere to be read: not in what is logged at any level, not in errors, not in `Debug`. Alone in its
//! program, because it reads the log of the whole process.

use std::fmt::{Debug, Write as _};
use std::sync::Mutex;
use std::time::Duration;

use quark_core::{MembershipUrl, Silo, SiloConfig};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const CANARY: &str = "canary-logged";

static LOG: Mutex<String> = Mutex::new(String::new());

/// Writes down every event and span of every level.
struct Everything;

struct Fields;

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(LOG.lock().unwrap(), "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Fields);
        Id::from_u64(1)
    }
    fn record(&self, _span: &Id, values: &Record<'_>) {
        values.record(&mut Fields);
    }
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn event(&self, event: &Event<'_>) {
        write!(LOG.lock().unwrap(), "\n{} ", event.metadata().target()).unwrap();
        event.record(&mut Fields);
    }
    fn enter(&self, _span: &Id) {}
    fn exit(&self, _span: &Id) {}
}

#[tokio::test]
async fn a_password_is_in_no_log_no_error_and_no_debug() {
    tracing::subscriber::set_global_default(Everything).unwrap();
    let redis = std::env::var("QUARK_TEST_REDIS").expect("QUARK_TEST_REDIS is the URL of a Redis for tests");
    let there = redis.rsplit(['@', '/']).next().expect("an address");
    // One where it is wrong, and one where nobody listens.
    for address in [there, "127.0.0.1:1"] {
        for login in [format!("ann:{CANARY}"), format!(":{CANARY}")] {
            let url: MembershipUrl = format!("redis://{login}@{address}").parse().unwrap();
            let mut config = SiloConfig::new("a".parse().unwrap());
            config.membership = Some(url.clone());
            let silo = Silo::builder("a")
                .membership(url.clone())
                .configure(|config| config.timing.start_timeout = Duration::from_millis(500));
            let error = silo.start().await.err().expect("the password is wrong, or nobody is there");
            let said = format!("{url} {url:?} {config:?} {error} {error:?} {}", error.message());
            assert!(said.contains("***") && !said.contains(CANARY), "{}", said.replace(CANARY, "HERE"));
        }
    }
    let log = LOG.lock().unwrap();
    assert!(log.contains("quark::"), "it was listened to: {log}");
    assert!(!log.contains(CANARY), "{}", log.replace(CANARY, "HERE"));
}
