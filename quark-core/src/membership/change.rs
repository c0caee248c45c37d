//! What a running silo changes in what it says of itself: its status, its weight, that it drains.
//!
//! Providers carry a [`Change`] to the others; what it may be is decided here, from the view.

use std::sync::{Arc, Weak};

use super::{Membership, Provider, ViewPublisher};
use crate::drain::Drain;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::silo_info::{DEFAULT_VIRTUAL_NODES, SiloInfo, SiloStatus};
use crate::telemetry::MEMBERSHIP;

/// Something that a silo says anew of itself.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Status(SiloStatus),
    VirtualNodes(u32),
    Drain(Option<Drain>),
    /// A silo that drains still keeps no more than this, if it still drains.
    KeepNoMoreThan(Drain),
}

impl Change {
    /// Says it.
    pub(super) fn apply(self, info: &mut SiloInfo) {
        match self {
            Self::Status(status) => info.status = status,
            Self::VirtualNodes(virtual_nodes) => info.virtual_nodes = virtual_nodes,
            Self::Drain(drain) => info.drain = drain,
            Self::KeepNoMoreThan(left) => info.drain = info.drain.take().map(|drain| drain.and(&left)),
        }
    }
}

impl Membership {
    /// Tells the others of a new status of this silo.
    ///
    /// # Errors
    /// What the provider's store says; the silo may go on.
    pub async fn announce(&self, status: SiloStatus) -> Result<()> {
        self.provider()?.announce(Change::Status(status)).await
    }

    /// Gives this silo another weight: 1 to 100,000 points on the ring. It is in this silo's view when it returns; the others hear
    /// of it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`; `INCOMPATIBLE` for another number than 150 beside original silos, which count 150 for everybody, and
    /// beside those of a `static://` list, which hear of nothing; `NOT_RUNNING` without a silo that runs;
    /// `MEMBERSHIP_UNAVAILABLE` when the store cannot be told now: it is when it can.
    pub async fn set_virtual_nodes(&self, virtual_nodes: u32) -> Result<()> {
        crate::ring::check_virtual_nodes(virtual_nodes)?;
        let me = self.myself()?;
        let view = self.view();
        let original = view.silos().find(|other| other.is_original() && other.silo_id != me);
        if let Some(original) = original.filter(|_| virtual_nodes != DEFAULT_VIRTUAL_NODES) {
            return Err(beside_original(virtual_nodes, original));
        }
        self.provider()?.announce(Change::VirtualNodes(virtual_nodes)).await
    }

    /// Drains this silo: it keeps the hash ranges that it owns now and gets nothing new. What would fall to it when others
    /// go falls to the next silo on the ring that does not drain; a silo that joins takes its part of its ranges as always. Policies
    /// other than the ring's do not choose it, as long as there are others. It is in this silo's view when it returns; the others hear
    /// of it. Original silos do not understand it, and send as before; what they send is passed on. A second time has no effect, and a new start ends
    /// it.
    ///
    /// # Errors
    /// `NOT_RUNNING` without a silo that runs; `INVALID_ARGUMENT` when there are more ranges than gossip carries;
    /// `MEMBERSHIP_UNAVAILABLE` when the store cannot be told now: it is when it can.
    pub async fn drain(&self) -> Result<()> {
        let me = self.myself()?;
        let view = self.view();
        if view.silo(me.as_str()).is_some_and(|info| info.is_draining()) {
            return Ok(());
        }
        let provider = self.provider()?;
        if let Some(started) = &mut *self.started()
            && started.tends_drain.is_none()
        {
            let work = tend_drain(me.clone(), self.views.clone(), Arc::downgrade(&provider));
            let mut tasks = tokio::task::JoinSet::new();
            tasks.spawn(work);
            started.tends_drain = Some(tasks);
        }
        tracing::info!(target: MEMBERSHIP, silo = %me, "drains: keeps what it has and gets nothing new");
        provider.announce(Change::Drain(Some(view.owned_by(&me)))).await
    }

    /// Ends a [`drain`](Self::drain): the silo gets its whole part of the ring. Without one it has no effect.
    ///
    /// # Errors
    /// `NOT_RUNNING` and `MEMBERSHIP_UNAVAILABLE`, as there.
    pub async fn resume(&self) -> Result<()> {
        self.myself()?;
        self.provider()?.announce(Change::Drain(None)).await
    }

    fn myself(&self) -> Result<SiloId> {
        let started = self.started();
        let me = started.as_ref().and_then(|started| started.silo.clone());
        me.ok_or_else(|| Error::new(ErrorKind::NotRunning, "no silo runs here"))
    }
}

/// What a new life of a silo says that drains: it has nothing, and gets nothing.
pub(super) fn begin_anew(info: &mut SiloInfo) {
    info.drain = info.drain.take().map(|_| Drain::default());
}

/// Original silos count 150 virtual nodes for everybody: beside them another number would tear the ring apart.
pub(super) fn beside_original(virtual_nodes: u32, original: &SiloInfo) -> Error {
    let message = format!(
        "virtual_nodes={virtual_nodes} cannot be used beside the original silo {:?} at {}, which counts \
         {DEFAULT_VIRTUAL_NODES} virtual nodes for every silo",
        original.silo_id, original.endpoint
    );
    Error::new(ErrorKind::Incompatible, message)
}

/// Whatever another silo took over while this one drains is not this one's to get back when that one goes.
async fn tend_drain(me: SiloId, views: ViewPublisher, provider: Weak<dyn Provider>) {
    let mut views = views.views.subscribe();
    loop {
        let view = views.borrow_and_update().clone();
        let myself = view.silo(me.as_str()).filter(|myself| myself.status == SiloStatus::Active);
        if let Some(drain) = myself.and_then(|myself| myself.drain.as_ref()) {
            let left = drain.and(&view.owned_by(&me));
            if left != *drain {
                let Some(provider) = provider.upgrade() else { return };
                if let Err(error) = provider.announce(Change::KeepNoMoreThan(left)).await {
                    tracing::debug!(target: MEMBERSHIP, silo = %me, %error, "what is left to drain was not told");
                }
            }
        }
        drop(view);
        if views.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::HashRanges;

    #[test]
    fn what_is_left_of_a_drain_does_not_begin_one_anew() {
        let mut silo = SiloInfo::new("a".parse().unwrap(), "127.0.0.1:1".parse().unwrap());
        let left = Drain::keeping(Default::default(), HashRanges::new());
        Change::KeepNoMoreThan(left.clone()).apply(&mut silo);
        assert!(!silo.is_draining(), "it was resumed meanwhile");
        Change::Drain(Some(Drain::keeping(Default::default(), HashRanges::all()))).apply(&mut silo);
        Change::KeepNoMoreThan(left.clone()).apply(&mut silo);
        assert_eq!(silo.drain, Some(left));
    }
}
