//! Links under faults and load, over real connections: what is lost is said to be, what is slow slows nobody else, and
//! who gives up is heard.

mod hosts;
mod proxy;

mod faults;
mod giving_up;
mod payloads;
mod pressure;
mod stopping;

use std::time::Duration;

/// Long enough for a loaded machine; nothing waits so long when all is well.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(LIMIT, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"));
}
