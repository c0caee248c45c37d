//! `static://`: the members are written in the URL and never leave; a dead one answers calls with UNREACHABLE.
//!
//! No I/O and no tasks. The silo itself is always in, whether the URL names it or not.

use std::sync::{Arc, Mutex};

use super::change::Change;
use super::{Provider, Role, ViewPublisher, Work};
use crate::endpoint::Endpoint;
use crate::id::SiloId;
use crate::probe::Prober;
use crate::silo_info::SiloInfo;
use crate::transports::Transports;

/// The incarnation of every life: nobody remembers an earlier one.
const INCARNATION: u64 = 1;

/// A fixed list of silos.
pub(super) struct FixedMembership {
    others: Vec<Arc<SiloInfo>>,
    started: Mutex<Option<Started>>,
}

struct Started {
    myself: Option<SiloInfo>,
    views: ViewPublisher,
}

impl FixedMembership {
    pub(super) fn new(silos: Vec<(SiloId, Endpoint)>, transports: Transports) -> Self {
        let others = silos.into_iter().map(|(id, endpoint)| {
            let mut info = SiloInfo::new(id, endpoint);
            info.incarnation = INCARNATION;
            // A list of addresses does not say whether they are silos of ours or plain gRPC servers.
            info.protocol_version = None;
            info.transports = transports;
            Arc::new(info)
        });
        Self { others: others.collect(), started: Mutex::new(None) }
    }

    fn publish(&self, started: &Started) {
        // A view keeps the last of several silos with one id: what this silo says of itself counts.
        let myself = started.myself.clone().map(Arc::new);
        started.views.publish(self.others.iter().cloned().chain(myself));
    }
}

impl Provider for FixedMembership {
    fn start(&self, role: Role, views: ViewPublisher, _: Arc<dyn Prober>) -> Work<'_, u64> {
        Box::pin(async move {
            let myself = match role {
                Role::Member(mut info) => {
                    info.incarnation = INCARNATION;
                    Some(info)
                }
                Role::Observer(_) => None,
            };
            let incarnation = myself.as_ref().map_or(0, |info| info.incarnation);
            let started = Started { myself, views };
            self.publish(&started);
            *self.started.lock().expect("no panic while locked") = Some(started);
            Ok(incarnation)
        })
    }

    fn announce(&self, change: Change) -> Work<'_> {
        Box::pin(async move {
            if let Some(started) = &mut *self.started.lock().expect("no panic while locked") {
                if let Some(myself) = &mut started.myself {
                    change.apply(myself);
                }
                self.publish(started);
            }
            Ok(())
        })
    }

    fn stop(&self) -> Work<'_> {
        Box::pin(async { Ok(()) })
    }

    fn suspect(&self, _: &SiloInfo) {}
}
