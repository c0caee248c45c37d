//! Whom policies choose from that do not go by the ring: the silos of a ring, all of them and by zone. Made once with the view,
//! so that a choice costs no more than an index.

use std::collections::{HashMap, HashSet};

use crate::id::SiloId;
use crate::ring::HashRing;
use crate::silo_info::SiloInfo;

/// The silos that serve a type and do not drain; if all do, all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choices {
    /// Sorted by id.
    all: Vec<SiloId>,
    by_zone: HashMap<String, Vec<SiloId>>,
    zones: usize,
}

impl Choices {
    /// Of the silos of a ring, of which `info` knows more.
    pub(super) fn of<'a>(ring: &HashRing, info: impl Fn(&SiloId) -> Option<&'a SiloInfo>) -> Self {
        let zone = |silo| info(silo).and_then(|info| info.zone.as_deref());
        let zones = ring.silos().map(zone).collect::<HashSet<_>>().len();
        let mut all: Vec<_> =
            ring.silos().filter(|silo| !info(silo).is_some_and(SiloInfo::is_draining)).cloned().collect();
        if all.is_empty() {
            // Rather the old than nobody.
            all.extend(ring.silos().cloned());
        }
        let mut by_zone = HashMap::<String, Vec<SiloId>>::new();
        for silo in &all {
            if let Some(zone) = zone(silo) {
                by_zone.entry(zone.to_owned()).or_default().push(silo.clone());
            }
        }
        Self { all, by_zone, zones }
    }

    /// How many zones there are on the ring, those without one together being another.
    pub(crate) fn zones(&self) -> usize {
        self.zones
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[SiloId] {
        &self.all
    }

    /// Those of a zone, or all when there are none.
    pub(crate) fn near(&self, zone: Option<&str>) -> &[SiloId] {
        zone.and_then(|zone| self.by_zone.get(zone)).unwrap_or(&self.all)
    }

    pub(crate) fn contains(&self, silo: &SiloId) -> bool {
        self.all.binary_search(silo).is_ok()
    }
}
