//! Keeps the subscription to the two channels alive, and collects what is heard there until the keeper takes it.
//!
//! The client neither notices a silent connection nor reports a failed re-subscription, so this task does both itself.
//! Messages only make things faster: losing, doubling or forging them changes no outcome.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::store::{Server, Subscription};
use crate::id::SiloId;
use crate::retry::Backoff;
use crate::telemetry::MEMBERSHIP;

/// How many ids are collected of each kind; beyond it everything is read anew instead.
const MOST_IDS: usize = 1_024;
/// How often the connection is asked whether it still lives.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// What was heard since the keeper last asked. Bounded, and doubles fall together.
#[derive(Default)]
pub(super) struct Heard {
    news: Mutex<News>,
    arrived: Notify,
    subscribed: Notify,
}

/// What the channels said.
#[derive(Default)]
pub(super) struct News {
    pub(super) joined: BTreeSet<SiloId>,
    pub(super) left: BTreeSet<SiloId>,
    pub(super) suspected: BTreeSet<(SiloId, u64)>,
    /// The subscription is new, or too much came at once: something was missed.
    pub(super) missed_some: bool,
}

impl Heard {
    /// Waits until then, and until there is something to take.
    pub(super) async fn arrived(&self, not_before: Instant) {
        tokio::time::sleep_until(not_before).await;
        self.arrived.notified().await;
    }

    /// Waits for the first subscription.
    pub(super) async fn subscribed(&self) {
        self.subscribed.notified().await;
    }

    pub(super) fn take(&self) -> News {
        std::mem::take(&mut *self.news.lock().expect("no panic while locked"))
    }

    fn change(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.news.lock().expect("no panic while locked"));
        self.arrived.notify_one();
    }
}

impl News {
    pub(super) fn add(&mut self, payload: &str) {
        // At the first colon: ids may have colons themselves.
        let Some((word, rest)) = payload.split_once(':') else { return };
        match word {
            "join" => self.missed_some |= !note(&mut self.joined, SiloId::new(rest).ok()),
            "leave" => self.missed_some |= !note(&mut self.left, SiloId::new(rest).ok()),
            "suspect" => self.missed_some |= !note(&mut self.suspected, suspect(rest)),
            _ => {}
        }
    }
}

/// `<incarnation>:<SiloId>`
fn suspect(text: &str) -> Option<(SiloId, u64)> {
    let (incarnation, id) = text.split_once(':')?;
    Some((SiloId::new(id).ok()?, incarnation.parse().ok()?))
}

/// Says whether there was room.
fn note<T: Ord>(set: &mut BTreeSet<T>, item: Option<T>) -> bool {
    let room = set.len() < MOST_IDS;
    if let Some(item) = item.filter(|_| room) {
        set.insert(item);
    }
    room
}

/// Subscribes, and again whenever the connection is lost.
pub(super) async fn listen(server: impl Server, heard: Arc<Heard>) {
    let mut backoff = Backoff::for_stores();
    loop {
        let began = Instant::now();
        let why = match server.subscribe().await {
            Ok(subscription) => {
                heard.change(|news| news.missed_some = true);
                heard.subscribed.notify_one();
                follow(subscription, &heard).await;
                "the connection was lost".to_owned()
            }
            Err(refusal) => refusal.to_string(),
        };
        if began.elapsed() > PING_INTERVAL {
            backoff.reset();
        }
        if backoff.attempts() == 0 {
            tracing::warn!(target: MEMBERSHIP, error = %why, "no word from redis; changes are seen later until it is back");
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

async fn follow(mut subscription: impl Subscription, heard: &Heard) {
    let mut ping = tokio::time::interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    loop {
        tokio::select! {
            biased;
            _ = ping.tick() => {
                if !subscription.is_alive().await {
                    return;
                }
            }
            message = subscription.next() => match message {
                Some(payload) => heard.change(|news| news.add(&payload)),
                None => return,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_split_at_the_first_colon_and_nonsense_is_ignored() {
        let mut news = News::default();
        for payload in ["join:a:b{c}", "leave:x", "suspect:7:a:b", "suspect:x:y", "leave:", "hello", ""] {
            news.add(payload);
        }
        assert!(news.joined.contains("a:b{c}") && news.left.contains("x") && news.left.len() == 1);
        assert_eq!(news.suspected, BTreeSet::from([("a:b".parse().unwrap(), 7)]));
        assert!(!news.missed_some);
    }

    #[test]
    fn a_flood_is_bounded_and_answered_by_reading_everything() {
        let mut news = News::default();
        (0..=MOST_IDS).for_each(|i| news.add(&format!("join:{i}")));
        assert!(news.joined.len() == MOST_IDS && news.missed_some);
    }
}
