//! What gossip says, as the judge wants to hear it: pure, without clock or I/O.
//!
//! Whoever's heartbeat goes on has a row, whoever's stands still has none. A silo tells by gossip which lives it suspects
//! and which it has put out; the former are votes, the latter are the count of lives that a store would keep.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::SiloId;
use crate::membership::judge::Row;
use crate::silo_info::{SiloInfo, SiloStatus};

/// One life of a silo.
pub(super) type Life = (SiloId, u64);

/// What gossip knows of one participant.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    pub(super) id: SiloId,
    pub(super) generation: u64,
    pub(super) heartbeat: u64,
    /// Its heartbeat goes on.
    pub(super) live: bool,
    /// More than its name is known.
    pub(super) told_anything: bool,
    /// What it says of itself; `None` for clients and silos that are starting.
    pub(super) silo: Option<Arc<SiloInfo>>,
    /// Whom it does not reach.
    pub(super) suspects: Vec<Life>,
    /// Whom it put out.
    pub(super) out: Vec<Life>,
}

/// What all participants say together.
#[derive(Default)]
pub(super) struct Gathering {
    /// Of each id the latest life, and whether its heartbeat goes on.
    silos: BTreeMap<SiloId, (Arc<SiloInfo>, bool)>,
    /// Who suspects which life.
    votes: BTreeMap<Life, BTreeSet<SiloId>>,
    /// How many lives of an id are counted: all lower ones are over.
    lives: BTreeMap<SiloId, u64>,
}

impl Gathering {
    pub(super) fn of(sightings: &[Sighting]) -> Self {
        let mut gathering = Self::default();
        for sighting in sightings {
            if let Some(silo) = &sighting.silo {
                gathering.see(silo, sighting.live);
            }
        }
        for sighting in sightings.iter().filter(|sighting| sighting.live && sighting.silo.is_some()) {
            for life in &sighting.suspects {
                gathering.votes.entry(life.clone()).or_default().insert(sighting.id.clone());
            }
            for (id, incarnation) in &sighting.out {
                gathering.count_out(id, *incarnation);
            }
        }
        gathering
    }

    fn see(&mut self, silo: &Arc<SiloInfo>, live: bool) {
        match self.silos.get(&silo.silo_id) {
            Some((known, _)) if known.incarnation > silo.incarnation => {}
            _ => drop(self.silos.insert(silo.silo_id.clone(), (silo.clone(), live))),
        }
    }

    /// This life of an id is over. Anybody may say so of any number, also of the last one.
    pub(super) fn count_out(&mut self, id: &SiloId, incarnation: u64) {
        self.count(id, incarnation.saturating_add(1));
    }

    /// That many lives of an id are counted, at least.
    fn count(&mut self, id: &SiloId, lives: u64) {
        let counted = self.lives.entry(id.clone()).or_default();
        *counted = lives.max(*counted);
    }

    /// How many lives of an id are counted.
    pub(super) fn lives(&self, id: &SiloId) -> u64 {
        self.lives.get(id).copied().unwrap_or_default()
    }

    /// Whether a silo's heartbeat goes on.
    pub(super) fn hears(&self, id: &SiloId) -> bool {
        self.silos.get(id).is_some_and(|(_, live)| *live)
    }

    /// Which lives are suspected.
    pub(super) fn suspected(&self) -> impl Iterator<Item = &Life> {
        self.votes.keys()
    }

    /// How many others suspect this life.
    pub(super) fn votes(&self, life: &Life) -> u64 {
        self.votes.get(life).map_or(0, |voters| voters.len() as u64)
    }

    /// A row for each silo that was ever heard of, `myself` only if it has a later life elsewhere or is counted out. Those
    /// that have none are left out while too little is heard: then it is this silo that is cut off.
    pub(super) fn rows(&self, myself: Option<&SiloInfo>, hears_enough: bool) -> BTreeMap<SiloId, Row> {
        let mut rows = BTreeMap::new();
        for (id, (silo, live)) in &self.silos {
            let lives = self.lives(id);
            let row = if lives > silo.incarnation {
                Row::Missing { lives }
            } else if *live || silo.status == SiloStatus::Dead {
                Row::Readable(silo.clone())
            } else if hears_enough {
                Row::Missing { lives }
            } else {
                continue;
            };
            rows.insert(id.clone(), row);
        }
        if let Some(myself) = myself {
            let lives = self.lives(&myself.silo_id);
            match rows.get(&myself.silo_id) {
                Some(Row::Readable(other)) if other.status != SiloStatus::Dead => {}
                _ => drop(rows.insert(myself.silo_id.clone(), Row::Missing { lives })),
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silo(id: &str, incarnation: u64) -> SiloInfo {
        let mut info = SiloInfo::new(id.parse().unwrap(), "127.0.0.1:1".parse().unwrap());
        info.incarnation = incarnation;
        info
    }

    fn sighting(id: &str, incarnation: u64) -> Sighting {
        Sighting {
            id: id.parse().unwrap(),
            generation: incarnation,
            heartbeat: 1,
            live: true,
            told_anything: true,
            silo: Some(Arc::new(silo(id, incarnation))),
            suspects: Vec::new(),
            out: Vec::new(),
        }
    }

    fn life(id: &str, incarnation: u64) -> Life {
        (id.parse().unwrap(), incarnation)
    }

    /// `id/incarnation` for a row, `id-lives` for a missing one.
    fn rows(sightings: &[Sighting], hears_enough: bool) -> Vec<String> {
        let rows = Gathering::of(sightings).rows(Some(&silo("me", 1)), hears_enough);
        let shown = rows.iter().filter_map(|(id, row)| match row {
            Row::Readable(info) => Some(format!("{id}/{}", info.incarnation)),
            Row::Missing { lives } if *lives > 0 || id.as_str() != "me" => Some(format!("{id}-{lives}")),
            _ => None,
        });
        shown.collect()
    }

    #[test]
    fn whoever_is_heard_has_a_row_and_the_latest_life_counts() {
        let client = Sighting { silo: None, ..sighting("client", 1) };
        let silent = Sighting { live: false, ..sighting("silent", 1) };
        let all = [sighting("b", 9), sighting("b", 10), sighting("b", 3), client, silent];
        assert_eq!(rows(&all, true), ["b/10", "silent-0"]);
        assert_eq!(rows(&all, false), ["b/10"], "too little is heard to miss anybody");
    }

    #[test]
    fn a_farewell_is_a_row_though_nothing_is_heard_any_more() {
        let mut dead = silo("b", 1);
        dead.status = SiloStatus::Dead;
        let left = Sighting { silo: Some(Arc::new(dead)), live: false, ..sighting("b", 1) };
        assert_eq!(rows(&[left], false), ["b/1"]);
    }

    #[test]
    fn a_life_that_somebody_put_out_is_over_and_a_later_one_is_not() {
        let c = Sighting { out: vec![life("b", 4), life("me", 1)], ..sighting("c", 1) };
        assert_eq!(rows(&[sighting("b", 4), c.clone()], false), ["b-5", "c/1", "me-2"]);
        assert_eq!(rows(&[sighting("b", 5), c.clone()], false), ["b/5", "c/1", "me-2"]);
        let silent = Sighting { live: false, ..c };
        assert_eq!(rows(&[sighting("b", 4), silent], false), ["b/4"], "a silent silo has no say");
    }

    #[test]
    fn the_life_with_the_last_of_all_numbers_may_be_put_out_like_any() {
        let c = Sighting { out: vec![life("b", u64::MAX)], ..sighting("c", 1) };
        assert_eq!(rows(&[sighting("b", 4), c], false), [format!("b-{}", u64::MAX), "c/1".to_owned()]);
    }

    #[test]
    fn votes_are_those_of_silos_that_are_heard() {
        let suspicious = |id| Sighting { suspects: vec![life("b", 4)], ..sighting(id, 1) };
        let silent = Sighting { live: false, ..suspicious("d") };
        let client = Sighting { silo: None, ..suspicious("e") };
        let gathering = Gathering::of(&[suspicious("c"), silent, client, suspicious("f")]);
        assert_eq!((gathering.votes(&life("b", 4)), gathering.votes(&life("b", 5))), (2, 0));
    }

    #[test]
    fn a_later_life_of_this_very_id_is_shown() {
        assert_eq!(rows(&[sighting("me", 7)], true), ["me/7"]);
    }
}
