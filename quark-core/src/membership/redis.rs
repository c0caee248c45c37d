//! `redis://`: silos find each other through rows in Redis. The keys are a contract with other programs.
//!
//! This file has the provider: how a silo starts, and the handle through which it is told things. `store` says what is
//! needed of a store and `commands` does it in Redis, over what `connection` knows of one server, sentinels or a cluster.
//! `claim` knows how an id becomes a silo's own, `listener` keeps the subscription, and `keeper` is the one task that lives
//! as long as the silo: it writes the heartbeat, feeds the judge and does what that says.

mod changes;
mod claim;
mod commands;
mod connection;
#[cfg(any(test, quark_fuzzing))]
pub(super) mod fuzzing;
mod keeper;
mod listener;
mod refusal;
mod scripts;
#[cfg(test)]
mod simulation;
mod store;
#[cfg(test)]
mod suite;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::commands::RedisServer;
use self::keeper::{Command, Keeper};
use self::listener::Heard;
use self::refusal::Refusal;
use self::store::{Server, Store as _, find_originals};
use super::change::{Change, beside_original};
use super::judge::{Judge, Row};
use super::lookout::{LOOK_INTERVAL, Lookout};
use super::{MembershipConfig, Provider, RedisUrl, Role, ViewPublisher, Work};
use crate::error::{Error, ErrorKind, Result};
use crate::probe::Prober;
use crate::retry::Backoff;
use crate::silo_info::{DEFAULT_VIRTUAL_NODES, SiloInfo};
use crate::telemetry::MEMBERSHIP;

/// How long a start waits for the subscription. Without one the silo works too, only slower.
const SUBSCRIPTION_LIMIT: Duration = Duration::from_secs(1);
/// How long a farewell may take: a connection attempt and a few round trips.
const FAREWELL_LIMIT: Duration = Duration::from_secs(8);
/// Silos are looked at this many times in a heartbeat, at the least.
const LOOKS_PER_HEARTBEAT: u32 = 5;
/// How many commands may wait for the keeper. Suspicions beyond it are dropped: the keeper looks by itself too.
const COMMANDS: usize = 256;

/// Membership through the Redis of this URL.
pub(super) fn provider(url: RedisUrl, config: MembershipConfig) -> Result<Arc<dyn Provider>> {
    let server = RedisServer::new(url, config.redis_credentials.clone(), &config.cluster)?;
    Ok(Arc::new(RedisMembership::at(server, config)))
}

/// Membership through a store of rows.
struct RedisMembership<V> {
    server: V,
    config: MembershipConfig,
    running: Mutex<Option<Running>>,
}

struct Running {
    commands: mpsc::Sender<Command>,
    /// Dropping the set ends the tasks.
    _tasks: JoinSet<()>,
}

/// Why a start did not come to its end.
enum NotBegun {
    /// Trying again changes nothing.
    Final(Error),
    /// The store did not do something, which it may when it is asked again.
    Refused(Refusal),
}

impl From<Error> for NotBegun {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl From<Refusal> for NotBegun {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<V: Server> RedisMembership<V> {
    fn at(server: V, config: MembershipConfig) -> Self {
        Self { server, config, running: Mutex::new(None) }
    }

    /// Tries until the deadline: a store that many silos start at may be slow, and whatever was begun can be begun again.
    async fn begin(&self, role: Role, views: ViewPublisher, prober: Arc<dyn Prober>) -> Result<u64> {
        let deadline = Instant::now() + self.config.start_timeout;
        let mut backoff = Backoff::for_stores();
        loop {
            let refusal = match self.try_begin(role.clone(), &views, &prober, deadline).await {
                Ok(incarnation) => return Ok(incarnation),
                Err(NotBegun::Final(error)) => return Err(error),
                Err(NotBegun::Refused(refusal)) => refusal,
            };
            let wait = backoff.next_wait();
            if refusal.is_final() || Instant::now() + wait >= deadline {
                return Err(self.unavailable(&refusal));
            }
            tracing::debug!(target: MEMBERSHIP, error = %refusal, "redis did not answer a start; it is begun again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn try_begin(
        &self,
        role: Role,
        views: &ViewPublisher,
        prober: &Arc<dyn Prober>,
        deadline: Instant,
    ) -> std::result::Result<u64, NotBegun> {
        let (views, prober) = (views.clone(), prober.clone());
        let store = self.reach(deadline).await?;
        self.rehearse(&store, &role).await?;

        let me = role.id().clone();
        // Another weight than theirs cannot be had beside original silos.
        let need = matches!(&role, Role::Member(info) if info.virtual_nodes != DEFAULT_VIRTUAL_NODES);
        let originals = find_originals(&store, need).await?;
        let myself = match role {
            Role::Member(info) => Some(self.join(&store, info, &originals, &*prober, deadline).await?),
            Role::Observer(_) => None,
        };
        let incarnation = myself.as_ref().map_or(0, |info| info.incarnation);

        let mut tasks = JoinSet::new();
        let heard = Arc::new(Heard::default());
        let mut start = |work| drop(tasks.spawn(self.server.task(work)));
        start(listener::listen(self.server.clone(), heard.clone()).boxed());
        let limit = SUBSCRIPTION_LIMIT.min(deadline.saturating_duration_since(Instant::now()));
        let _ = tokio::time::timeout(limit, heard.subscribed()).await;

        let judge = Judge::new(myself.clone(), self.config.missing_row_grace);
        let look_interval = LOOK_INTERVAL.min(self.config.heartbeat / LOOKS_PER_HEARTBEAT);
        let lookout = Lookout::new(me, judge, prober.clone(), self.config.probe_timeout, look_interval);
        let lease = myself.is_some().then(|| views.lease().clone());
        let mut keeper =
            Keeper::new(self.server.clone(), self.config.clone(), myself, lookout, prober, heard, views);
        keeper.begin(store, originals).await?;
        let (sender, commands) = mpsc::channel(COMMANDS);
        start(keeper.run(commands).boxed());
        if let Some(lease) = lease {
            start(lease.keep().boxed());
        }
        *self.running.lock().expect("no panic while locked") =
            Some(Running { commands: sender, _tasks: tasks });
        Ok(incarnation)
    }

    /// Connects, trying again until the deadline; what is refused for good will not get better by waiting.
    async fn reach(&self, deadline: Instant) -> Result<V::Store> {
        let mut backoff = Backoff::for_stores();
        let mut refusal = Refusal::no_answer();
        loop {
            match tokio::time::timeout_at(deadline, self.server.connect()).await {
                Ok(Ok(store)) => return Ok(store),
                Ok(Err(latest)) => refusal = latest,
                // What was said before tells more.
                Err(_) => return Err(self.unavailable(&refusal)),
            }
            let wait = backoff.next_wait();
            if refusal.is_final() || Instant::now() + wait >= deadline {
                return Err(self.unavailable(&refusal));
            }
            tracing::debug!(target: MEMBERSHIP, error = %refusal, "redis is not there yet");
            tokio::time::sleep(wait).await;
        }
    }

    /// Finds out now what the user may not do, before anything is written. What else goes wrong is met again later.
    async fn rehearse(&self, store: &V::Store, role: &Role) -> refusal::Answer<()> {
        let subscribing = tokio::time::timeout(SUBSCRIPTION_LIMIT, self.server.subscribe());
        let commands = async {
            match role {
                Role::Member(info) => store.rehearse(&info.silo_id).await,
                Role::Observer(_) => Ok(()),
            }
        };
        let (subscribed, done) = tokio::join!(subscribing, commands);
        let refusals = [subscribed.ok().and_then(Result::err), done.err()];
        refusals.into_iter().flatten().find(Refusal::is_final).map_or(Ok(()), Err)
    }

    async fn join(
        &self,
        store: &V::Store,
        mut info: SiloInfo,
        originals: &[Row],
        prober: &dyn Prober,
        deadline: Instant,
    ) -> std::result::Result<SiloInfo, NotBegun> {
        check_beside_originals(&info, originals)?;
        let claimed = claim::claim(store, &mut info, &self.config, prober, deadline).await;
        claimed.map_err(|failure| match failure {
            claim::Failure::Store(refusal) => refusal.into(),
            claim::Failure::InUse(other) => {
                let in_use = format!("silo {:?} lives at {}", info.silo_id, other.endpoint);
                NotBegun::Final(Error::new(ErrorKind::IdInUse, in_use))
            }
        })?;
        Ok(info)
    }

    /// The error of a start or an announcement that the store refused.
    fn unavailable(&self, refusal: &Refusal) -> Error {
        let (mut message, cluster) = (format!("{}: {refusal}", self.server), &self.config.cluster);
        if refusal.lacks_rights() {
            message += &format!(", with the keys ~{cluster}:* and the channels &{cluster}:*");
        }
        Error::new(ErrorKind::MembershipUnavailable, message)
    }

    fn commands(&self) -> Result<mpsc::Sender<Command>> {
        let running = self.running.lock().expect("no panic while locked");
        let running =
            running.as_ref().ok_or_else(|| Error::new(ErrorKind::NotRunning, "membership is not running"))?;
        Ok(running.commands.clone())
    }
}

fn check_beside_originals(info: &SiloInfo, originals: &[Row]) -> Result<()> {
    let original = originals.iter().find_map(|row| match row {
        Row::Readable(other) if other.is_original() && other.silo_id != info.silo_id => Some(other),
        _ => None,
    });
    match original {
        Some(original) if info.virtual_nodes != DEFAULT_VIRTUAL_NODES => {
            Err(beside_original(info.virtual_nodes, original))
        }
        _ => Ok(()),
    }
}

impl<V: Server> Provider for RedisMembership<V> {
    fn start(&self, role: Role, views: ViewPublisher, prober: Arc<dyn Prober>) -> Work<'_, u64> {
        Box::pin(self.begin(role, views, prober))
    }

    fn announce(&self, change: Change) -> Work<'_> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let gone = |()| Error::new(ErrorKind::NotRunning, "membership has ended");
            self.commands()?.send(Command::Announce(change, reply)).await.map_err(|_| gone(()))?;
            answer.await.map_err(|_| gone(()))?.map_err(|refusal| self.unavailable(&refusal))
        })
    }

    fn stop(&self) -> Work<'_> {
        Box::pin(async move {
            // Taken out at once, so that the tasks end whatever becomes of the farewell.
            let Some(running) = self.running.lock().expect("no panic while locked").take() else {
                return Ok(());
            };
            let (reply, answer) = oneshot::channel();
            let farewell = async {
                running.commands.send(Command::Stop(reply)).await.map_err(|_| Refusal::no_answer())?;
                answer.await.map_err(|_| Refusal::no_answer())?
            };
            let told = tokio::time::timeout(FAREWELL_LIMIT, farewell).await;
            told.unwrap_or_else(|_| Err(Refusal::no_answer())).map_err(|refusal| self.unavailable(&refusal))
        })
    }

    fn suspect(&self, silo: &SiloInfo) {
        if let Ok(commands) = self.commands() {
            let _ = commands.try_send(Command::Suspect(silo.silo_id.clone(), silo.incarnation));
        }
    }
}
