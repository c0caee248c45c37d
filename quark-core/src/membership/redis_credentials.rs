//! A user and a password for Redis that are asked for anew with each connection, because they change.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::redis_url::Login;
use crate::error::{Error, ErrorKind, Result};

type Give = dyn Fn() -> Result<(Option<String>, String)> + Send + Sync;

/// Says by which user and password to log in to the Redis of a membership URL that has none itself: from a vault, or from a file
/// that is rewritten. It is asked before each connection, on a thread where it may wait, by one at a time; what it does not say
/// within 3 s counts as no answer, and is asked for again. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct RedisCredentials {
    give: Arc<Give>,
    /// Held by whoever asks: one that never answers holds one thread, not more and more.
    asking: Arc<Mutex<()>>,
}

impl RedisCredentials {
    /// `give` returns the user, `None` for `default`, and the password. An error of its becomes the reason why there is no
    /// connection.
    pub fn new(give: impl Fn() -> Result<(Option<String>, String)> + Send + Sync + 'static) -> Self {
        Self { give: Arc::new(give), asking: Arc::default() }
    }

    pub(super) async fn ask(&self) -> Result<Login> {
        let turn: OwnedMutexGuard<()> = self.asking.clone().lock_owned().await;
        let give = self.give.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let given = give();
            drop(turn);
            given
        });
        let panicked = |_| Err(Error::new(ErrorKind::MembershipUnavailable, "it panicked"));
        let (user, password) = asked.await.unwrap_or_else(panicked)?;
        Ok(Login { user, password })
    }
}

impl fmt::Debug for RedisCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisCredentials")
    }
}
