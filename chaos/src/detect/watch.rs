//! A look at one silo through the calls of everybody else to its actors: when another silo answers them, and when it
//! does so again itself.

use std::time::Duration;

use crate::Result;
use crate::detect::calls::{Call, Caller, Calls, Ending};
use crate::detect::cluster::{Cluster, Member, SILOS, until};
use crate::detect::figures::{Figure, Measure, most};
use crate::record::now;

/// How often each of the others calls: how fine the figures are.
pub(crate) const EVERY: Duration = Duration::from_millis(20);
/// How long something is waited for before it counts as never.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

/// Calls of everybody else to actors that belonged to one silo at first.
pub(crate) struct Watch {
    silo: String,
    calls: Calls,
}

/// How long it took until the last of the other silos, and the client, were answered.
#[derive(Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) silos: Option<Duration>,
    pub(crate) client: Option<Duration>,
}

impl Watch {
    /// Waits until all calls are answered by the silo.
    pub(crate) async fn begin(cluster: &Cluster, silo: usize) -> Result<Self> {
        // Each of the others has an actor of its own, so that they do not all come to one new owner.
        let actors = cluster.actors_of(silo, SILOS).await?;
        let caller = |(member, actor): (&Member, String)| {
            Ok(Caller { talk: member.talk()?.clone(), actors: vec![actor] })
        };
        let callers = cluster.others(silo).zip(actors).map(caller).collect::<Result<_>>()?;
        let silo = cluster.members()[silo].id().to_owned();
        let watch = Self { silo, calls: Calls::begin(callers, EVERY) };
        match watch.answered_by_it(now()).await? {
            Answered { silos: Some(_), client: Some(_) } => Ok(watch),
            _ => Err(watch.complaint(cluster).into()),
        }
    }

    /// Who was not answered lately, and what became of its last call.
    fn complaint(&self, cluster: &Cluster) -> String {
        let last = self.calls.last_endings();
        let others = cluster.members().iter().filter(|member| member.id() != self.silo);
        let unanswered = others.zip(last).filter_map(|(member, ending)| match ending {
            Some(Ending::AnsweredBy(by)) if by == self.silo => None,
            Some(ending) => Some(format!("{}: {ending:?}", member.id())),
            None => Some(format!("{}: no call ended", member.id())),
        });
        let unanswered = unanswered.collect::<Vec<_>>().join(", ");
        format!("{} does not answer all, before anything is done to it: {unanswered}", self.silo)
    }

    /// Waits until calls made since then are answered by others.
    pub(crate) async fn answered_elsewhere(&self, since: u64) -> Result<Answered> {
        self.answered(since, |silo| silo != self.silo).await
    }

    /// Waits until calls made since then are answered by this silo.
    pub(crate) async fn answered_by_it(&self, since: u64) -> Result<Answered> {
        self.answered(since, |silo| silo == self.silo).await
    }

    async fn answered(&self, since: u64, by: impl Fn(&str) -> bool) -> Result<Answered> {
        let look = || self.calls.first_answers(since, &by);
        until(LIMIT, async || Ok(look().iter().all(Option::is_some).then_some(()))).await?;
        let mut took: Vec<Option<Duration>> = look().into_iter().map(|at| Some(passed(since, at?))).collect();
        // The client is the last of the members.
        let client = took.pop().flatten();
        Ok(Answered { silos: most(&took), client })
    }

    /// All calls, when they have ended.
    pub(crate) async fn end(self) -> Vec<Call> {
        self.calls.end().await
    }
}

impl Answered {
    /// The later of both.
    pub(crate) fn all(self) -> Option<Duration> {
        Some(self.silos?.max(self.client?))
    }
}

/// The two figures of how long it took until a silo's actors had new owners.
pub(crate) fn figures_of_new_owners(
    fault: &'static str,
    goal: Duration,
    answered: impl Iterator<Item = Answered>,
) -> Vec<Figure> {
    let (silos, client) = answered.map(|answered| (answered.silos, answered.client)).unzip();
    let figure = |what, times| Figure { fault, what, measure: Measure::Times { goal: Some(goal), times } };
    vec![
        figure("new owners answer the last of the other silos", silos),
        figure("new owners answer the client", client),
    ]
}

/// From one time to another, both in milliseconds.
pub(crate) fn passed(from: u64, until: u64) -> Duration {
    Duration::from_millis(until.saturating_sub(from))
}
