//! Membership agents, each with a listener of its own that hangs up on whoever knocks, which is an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quark_core::{Endpoint, Membership, MembershipConfig, MembershipUrl, Role, SiloInfo, View};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::Result;

/// How long anything may take to be seen by all.
const LIMIT: Duration = Duration::from_secs(180);

/// The defaults, but for the time that a start may take: all of them start at once on two cores.
fn config() -> MembershipConfig {
    let mut config = MembershipConfig::default();
    config.start_timeout = LIMIT;
    config
}

pub(crate) struct Agent {
    pub(crate) id: String,
    membership: Membership,
    listener: JoinHandle<()>,
}

impl Agent {
    pub(crate) async fn start(id: String, url: MembershipUrl) -> Result<Self> {
        let listening = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint: Endpoint = listening.local_addr()?.into();
        let listener = tokio::spawn(async move {
            loop {
                // A moment of too many open files passes.
                if listening.accept().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
        let membership = Membership::new(&url, config())?;
        let mut info = SiloInfo::new(id.parse()?, endpoint);
        // It serves no actor type, so that no ring is made: a thousand rings of a thousand silos would be all that this
        // process does. What a ring takes is measured by itself.
        info.actor_types = Some(Vec::new());
        membership.start(Role::Member(info)).await?;
        Ok(Self { id, membership, listener })
    }

    pub(crate) fn views(&self) -> u64 {
        self.membership.view().version()
    }

    /// Resolves when its view is as wanted.
    fn sees<F: Fn(&View) -> bool + Send + Sync + 'static>(
        &self,
        wanted: F,
    ) -> impl Future<Output = Option<Instant>> + use<F> {
        let mut views = self.membership.watch();
        async move {
            let seen = async { views.wait_for(|view| wanted(view)).await.is_ok() };
            tokio::time::timeout(LIMIT, seen).await.is_ok_and(|seen| seen).then(Instant::now)
        }
    }

    /// Leaves, and tells the others.
    pub(crate) async fn leave(self) -> Result<()> {
        Ok(self.membership.stop().await?)
    }

    /// Ends without a word; its endpoint refuses from now on.
    pub(crate) async fn die(self) {
        self.listener.abort();
        let _ = self.listener.await;
    }
}

/// How many start at once: each reads the rows of all, and they share one process.
const STARTING: usize = 250;

/// Starts them all, so many at once.
pub(crate) async fn start_all(
    ids: impl Iterator<Item = String>,
    url: impl Fn(&str) -> MembershipUrl,
) -> Result<Vec<Agent>> {
    let mut starting = JoinSet::new();
    let permits = Arc::new(Semaphore::new(STARTING));
    for id in ids {
        let (url, permits) = (url(&id), permits.clone());
        starting.spawn(async move {
            let _permit = permits.acquire().await?;
            Agent::start(id, url).await
        });
    }
    let mut agents = Vec::new();
    while let Some(started) = starting.join_next().await {
        agents.push(started??);
    }
    agents.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(agents)
}

/// Watches until all see what is wanted; began before what makes it so. When the last of them did; nothing if one never did.
pub(crate) fn watch(
    agents: &[Agent],
    wanted: impl Fn(&View) -> bool + Clone + Send + Sync + 'static,
) -> JoinHandle<Option<Instant>> {
    let mut watching = JoinSet::new();
    for agent in agents {
        watching.spawn(agent.sees(wanted.clone()));
    }
    tokio::spawn(async move {
        let mut last = Some(Instant::now());
        while let Some(seen) = watching.join_next().await {
            last = last.and_then(|last| Some(last.max(seen.ok().flatten()?)));
        }
        last
    })
}

/// All that their views were worth so far.
pub(crate) fn views(agents: &[Agent]) -> u64 {
    agents.iter().map(Agent::views).sum()
}
