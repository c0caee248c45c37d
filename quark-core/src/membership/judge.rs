//! Who is in: the contract's rule for a cluster whose silos find each other in a store of rows, as a plain state machine.
//!
//! No clock and no I/O: the Redis provider tells it what was read, heard and probed, and at what time of its own; it
//! answers with the silos that are in and with [`Action`]s to carry out. A store that is empty, away or slow says
//! nothing about a silo; only the silo itself, or failed probes of it, do.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::id::SiloId;
use crate::probe::Probe;
use crate::silo_info::{SiloInfo, SiloStatus};

/// How many silos must find a silo dead.
const CONFIRMATIONS: u64 = 2;
/// How many of those before a silo in the order of ids look at it when another one asks them to: enough for a second opinion.
/// All of a large cluster would be a crowd at the door of a silo that hesitates.
const SECONDERS: usize = 16;
/// How many probes in a row must go unanswered; a single one may be the machine's hiccup. A refusal needs no second.
const SILENCES: u32 = 2;
/// How long a silo that went out is remembered, so that its row alone does not bring it back.
const MEMORY_OF_DEPARTED: Duration = Duration::from_secs(600);

/// What was found under a silo's key.
#[derive(Clone, Debug)]
pub(super) enum Row {
    Readable(Arc<SiloInfo>),
    /// Something is there, but it cannot be understood: neither news nor an absence.
    Unreadable,
    /// The node of the store that holds it is away. The same, but worth another look.
    Away,
    /// Nothing is there. The store counts so many lives of this id: every lower one is over. 0 says nothing.
    Missing {
        lives: u64,
    },
}

/// What the judge wants done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Look at its endpoint and report with [`Judge::probed`].
    Probe(Arc<SiloInfo>),
    /// Read its row and report with [`Judge::row`].
    Read(SiloId),
    /// Say that this silo's probe of it fails, ask the others to look, report with [`Judge::votes`].
    Vote(Arc<SiloInfo>),
    /// Take that back.
    Withdraw(Arc<SiloInfo>),
    /// Count this life as over, delete its row, and tell the others that it left.
    Evict(Arc<SiloInfo>),
    /// This silo was put out: begin another life, and report with [`Judge::rejoined`].
    Rejoin,
}

/// The judge of one observer.
pub(super) struct Judge {
    /// This silo; `None` for a client, which has no vote and evicts nobody.
    myself: Option<Arc<SiloInfo>>,
    /// This life of this silo is over.
    is_out: bool,
    /// The later life of this very id, if somebody else leads one.
    successor: Option<Arc<SiloInfo>>,
    missing_row_grace: Duration,
    members: BTreeMap<SiloId, Member>,
    /// Who may be in doubt, so that nobody looks through all members for those few. Whoever is, is among them.
    doubted: BTreeSet<SiloId>,
    departed: BTreeMap<SiloId, Departed>,
    actions: Vec<Action>,
    changed: bool,
}

/// A silo that is in, other than this one.
struct Member {
    info: Arc<SiloInfo>,
    missing: Option<Missing>,
    /// Somebody published that it left. Worth a look, no more: anybody can publish.
    leave_heard: bool,
    probing: bool,
    /// Probes in a row that nobody answered.
    silences: u32,
    probe_fails: bool,
    voted: bool,
}

/// A row that was not there: from the first time that it was read to the last.
#[derive(Clone, Copy)]
struct Missing {
    since: Duration,
    last: Duration,
}

/// A silo that went out.
struct Departed {
    incarnation: u64,
    at: Duration,
    /// Its row is there again; it is let in when it answers.
    waiting: Option<Arc<SiloInfo>>,
}

impl Member {
    /// Its row is not there; since when it has not been. What was missing when this silo last read long ago may have been
    /// back meanwhile: two absences are not one.
    fn miss(&mut self, now: Duration, longest_gap: Duration) -> Duration {
        let seen_of_late = self.missing.filter(|missing| now <= missing.last + longest_gap);
        let since = seen_of_late.map_or(now, |missing| missing.since);
        self.missing = Some(Missing { since, last: now });
        since
    }

    /// It does not answer, or its row is not there.
    fn is_in_doubt(&self) -> bool {
        self.silences > 0 || self.probe_fails || self.missing.is_some()
    }

    fn new(info: Arc<SiloInfo>) -> Self {
        Self {
            info,
            missing: None,
            leave_heard: false,
            probing: false,
            silences: 0,
            probe_fails: false,
            voted: false,
        }
    }
}

impl Judge {
    pub(super) fn new(myself: Option<SiloInfo>, missing_row_grace: Duration) -> Self {
        Self {
            myself: myself.map(Arc::new),
            is_out: false,
            successor: None,
            missing_row_grace,
            members: BTreeMap::new(),
            doubted: BTreeSet::new(),
            departed: BTreeMap::new(),
            actions: Vec::new(),
            changed: true,
        }
    }

    /// Everybody who is in: this silo too, unless it was put out.
    pub(super) fn silos(&self) -> impl Iterator<Item = &Arc<SiloInfo>> {
        let own = if self.is_out { self.successor.as_ref() } else { self.myself.as_ref() };
        own.into_iter().chain(self.members.values().map(|member| &member.info))
    }

    /// Whether this is a silo, not a client.
    pub(super) fn has_a_silo(&self) -> bool {
        self.myself.is_some()
    }

    /// Whether this life of this silo is over.
    pub(super) fn is_out(&self) -> bool {
        self.is_out
    }

    /// This silo has begun another life.
    pub(super) fn rejoined(&mut self, info: SiloInfo) {
        self.is_out = false;
        self.successor = None;
        self.set_myself(info);
    }

    /// Whether [`silos`](Self::silos) changed since the last time this was asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What is to be done now.
    pub(super) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// The silos whose rows are missing.
    pub(super) fn missing(&self) -> impl Iterator<Item = &SiloId> {
        self.doubted.iter().filter(|id| self.members.get(*id).is_some_and(|member| member.missing.is_some()))
    }

    /// Whether this very life of another silo is in.
    pub(super) fn knows_life(&self, id: &SiloId, incarnation: u64) -> bool {
        self.members.get(id).is_some_and(|member| member.info.incarnation == incarnation)
    }

    pub(super) fn is_in(&self, id: &SiloId) -> bool {
        self.is_myself(id) || self.members.contains_key(id)
    }

    /// Whether it is in and no original silo.
    pub(super) fn is_ours(&self, id: &SiloId) -> bool {
        self.is_myself(id) || self.members.get(id).is_some_and(|member| !member.info.is_original())
    }

    /// Whether this silo is the one among ours that looks after the original silos: the smallest active id.
    pub(super) fn is_elected(&self) -> bool {
        let ours = self.silos().filter(|info| !info.is_original() && info.status == SiloStatus::Active);
        self.has_a_say()
            && ours.map(|info| &info.silo_id).min().is_some_and(|smallest| self.is_myself(smallest))
    }

    /// This silo says something new of itself.
    pub(super) fn set_myself(&mut self, info: SiloInfo) {
        self.myself = Some(Arc::new(info));
        self.changed = true;
    }

    /// All rows were read; who is not among them has none.
    pub(super) fn rows(&mut self, now: Duration, rows: BTreeMap<SiloId, Row>) {
        let absent: Vec<_> = self.members.keys().filter(|id| !rows.contains_key(*id)).cloned().collect();
        for id in absent {
            self.row(now, &id, Row::Missing { lives: 0 });
        }
        for (id, row) in rows {
            self.row(now, &id, row);
        }
    }

    /// One row was read.
    pub(super) fn row(&mut self, now: Duration, id: &SiloId, row: Row) {
        match row {
            Row::Readable(info) if self.is_myself(id) => self.own_row(info),
            Row::Readable(info) if info.status == SiloStatus::Dead => self.out(now, id),
            Row::Readable(info) if self.members.contains_key(id) => self.row_of_member(now, info),
            Row::Readable(info) => self.row_of_stranger(info),
            Row::Unreadable | Row::Away => {
                if let Some(member) = self.members.get_mut(id) {
                    member.missing = None;
                }
            }
            Row::Missing { lives } => self.row_missing(now, id, lives),
        }
    }

    /// Somebody published `join:`.
    pub(super) fn join_heard(&mut self, id: SiloId) {
        self.actions.push(Action::Read(id));
    }

    /// Somebody published `leave:`. Its row decides.
    pub(super) fn leave_heard(&mut self, id: SiloId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.leave_heard = true;
        }
        self.actions.push(Action::Read(id));
    }

    /// Another silo asks to look.
    pub(super) fn suspect_heard(&mut self, id: &SiloId, incarnation: u64) {
        let Some(myself) = &self.myself else { return self.suspect(id, incarnation) };
        // Original silos in between neither hear nor vote.
        let after = self.members.range::<SiloId, _>((Bound::Excluded(&myself.silo_id), Bound::Unbounded));
        let around = after.chain(self.members.range::<SiloId, _>(..=&myself.silo_id));
        let mut ours = 0;
        for (other, member) in around {
            if other == id {
                return self.suspect(id, incarnation);
            }
            ours += usize::from(!member.info.is_original());
            if ours >= SECONDERS {
                return;
            }
        }
    }

    /// A link to it broke, or another silo asks to look.
    pub(super) fn suspect(&mut self, id: &SiloId, incarnation: u64) {
        // One that is in doubt already is looked at in its turn: this silo hears its own requests to look, too.
        let newly = |member: &Member| member.info.incarnation == incarnation && !member.probe_fails;
        if self.members.get(id).is_some_and(newly) {
            match self.has_a_say() {
                true => self.look_at(id),
                false => self.actions.push(Action::Read(id.clone())),
            }
        }
    }

    /// The next `count` of the others after `id`, in the order of ids and around its end.
    pub(super) fn followers(&self, id: Option<&SiloId>, count: usize) -> Vec<SiloId> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        let after = self.members.range::<SiloId, _>((from, Bound::Unbounded));
        let before = id.into_iter().flat_map(|id| self.members.range::<SiloId, _>(..=id));
        after.chain(before).take(count).map(|(id, _)| id.clone()).collect()
    }

    /// Looks at the next `count` silos after this one, so that everybody is looked at by somebody.
    pub(super) fn look_at_successors(&mut self, count: usize) {
        let Some(myself) = &self.myself else { return };
        for id in self.followers(Some(&myself.silo_id), count) {
            self.look_at(&id);
        }
    }

    /// Looks again at whoever is in doubt, and forgets those who went out long ago.
    pub(super) fn look_at_doubtful(&mut self, now: Duration) {
        let members = &self.members;
        self.doubted.retain(|id| members.get(id).is_some_and(Member::is_in_doubt));
        let doubtful = |member: &Member| member.probe_fails || member.missing.is_some();
        let ids: Vec<_> = self.doubted.iter().filter(|id| doubtful(&members[*id])).cloned().collect();
        for id in ids {
            self.look_at(&id);
            self.actions.push(Action::Read(id));
        }
        self.departed.retain(|_, departed| now < departed.at + MEMORY_OF_DEPARTED);
        let waiting = self.departed.values().filter_map(|departed| departed.waiting.clone());
        self.actions.extend(waiting.map(Action::Probe));
    }

    /// Whether some silo did not answer of late.
    pub(super) fn has_doubts(&self) -> bool {
        let does_not_answer = |member: &Member| member.silences > 0 || member.probe_fails;
        self.doubted.iter().any(|id| self.members.get(id).is_some_and(does_not_answer))
    }

    /// A probe came back.
    pub(super) fn probed(&mut self, now: Duration, silo: &SiloInfo, probe: Probe) {
        if self.is_doorstep(silo) {
            if probe == Probe::Answered {
                self.let_in(&silo.silo_id);
            }
            return;
        }
        let Some(member) = self.members.get_mut(&silo.silo_id) else { return };
        member.probing = false;
        if member.info.incarnation != silo.incarnation || member.info.endpoint != silo.endpoint {
            return;
        }
        if probe != Probe::Answered {
            self.doubted.insert(silo.silo_id.clone());
        }
        member.silences = if probe == Probe::Silent { member.silences + 1 } else { 0 };
        if (1..SILENCES).contains(&member.silences) {
            return self.look_at(&silo.silo_id);
        }
        member.probe_fails = probe != Probe::Answered;
        if member.probe_fails {
            self.probe_failed(now, &silo.silo_id, probe);
        } else if std::mem::take(&mut member.voted) {
            self.actions.push(Action::Withdraw(member.info.clone()));
        }
    }

    /// A probe came back of which nobody took note in time: what it says is of the past, and so is the silence before it.
    pub(super) fn looked_too_late(&mut self, silo: &SiloInfo) {
        if let Some(member) = self.members.get_mut(&silo.silo_id) {
            member.probing = false;
            member.silences = 0;
            self.look_at(&silo.silo_id);
        }
    }

    /// So many silos, this one among them, say that their probes of it fail.
    pub(super) fn votes(&mut self, now: Duration, silo: &SiloInfo, votes: u64) {
        let Some(member) = self.members.get(&silo.silo_id) else { return };
        if votes >= CONFIRMATIONS && member.probe_fails && member.info.incarnation == silo.incarnation {
            self.evict(now, &silo.silo_id);
        }
    }

    /// Clients and silos that were put out evict nobody.
    fn has_a_say(&self) -> bool {
        self.myself.is_some() && !self.is_out
    }

    fn is_myself(&self, id: &SiloId) -> bool {
        self.myself.as_ref().is_some_and(|myself| myself.silo_id == *id)
    }

    /// A later life of this id took over, or one that counts as the same and lives elsewhere.
    fn own_row(&mut self, info: Arc<SiloInfo>) {
        let Some(myself) = &self.myself else { return };
        let same_life = info.incarnation == myself.incarnation && info.endpoint == myself.endpoint;
        if info.incarnation < myself.incarnation || same_life {
            return;
        }
        self.changed |=
            !self.is_out || self.successor.as_ref().is_none_or(|known| !known.same_but_heartbeat(&info));
        self.successor = Some(info);
        self.put_out();
    }

    fn own_row_missing(&mut self, lives: u64) {
        if self.myself.as_ref().is_some_and(|myself| lives > myself.incarnation) {
            self.changed |= self.successor.take().is_some();
            self.put_out();
        }
    }

    fn put_out(&mut self) {
        if !std::mem::replace(&mut self.is_out, true) {
            self.changed = true;
            self.actions.push(Action::Rejoin);
        }
    }

    fn row_of_member(&mut self, now: Duration, info: Arc<SiloInfo>) {
        let Some(member) = self.members.get_mut(&info.silo_id) else { return };
        if std::mem::take(&mut member.leave_heard) && info.status == SiloStatus::ShuttingDown {
            return self.out(now, &info.silo_id);
        }
        if info.incarnation < member.info.incarnation {
            // A late write of an earlier life: the later one writes over it at its next heartbeat. If it does not,
            // the store lost its count of lives, and what it holds now is the truth.
            self.doubted.insert(info.silo_id.clone());
            if now < member.miss(now, self.missing_row_grace) + self.missing_row_grace {
                return self.look_at(&info.silo_id);
            }
        }
        self.changed |= !member.info.same_but_heartbeat(&info);
        if info.incarnation == member.info.incarnation {
            member.info = info;
            member.missing = None;
        } else {
            *member = Member::new(info);
        }
    }

    fn row_of_stranger(&mut self, info: Arc<SiloInfo>) {
        match self.departed.get_mut(&info.silo_id) {
            // The store counts its life as going on: it lost the count, or never heard that it was put out.
            Some(departed) if info.incarnation <= departed.incarnation => {
                departed.waiting = Some(info.clone());
                self.actions.push(Action::Probe(info));
            }
            _ => {
                self.departed.remove(&info.silo_id);
                self.members.insert(info.silo_id.clone(), Member::new(info));
                self.changed = true;
            }
        }
    }

    fn row_missing(&mut self, now: Duration, id: &SiloId, lives: u64) {
        if self.is_myself(id) {
            return self.own_row_missing(lives);
        }
        if let Some(departed) = self.departed.get_mut(id) {
            departed.waiting = None;
        }
        let Some(member) = self.members.get_mut(id) else { return };
        // Original silos count no lives: their word and their missing row must do.
        let said_so = member.info.is_original() && member.leave_heard;
        if said_so || lives > member.info.incarnation {
            return self.out(now, id);
        }
        member.miss(now, self.missing_row_grace);
        self.doubted.insert(id.clone());
        self.look_at(id);
    }

    fn look_at(&mut self, id: &SiloId) {
        if let Some(member) = self.members.get_mut(id)
            && !std::mem::replace(&mut member.probing, true)
        {
            self.actions.push(Action::Probe(member.info.clone()));
        }
    }

    fn probe_failed(&mut self, now: Duration, id: &SiloId, probe: Probe) {
        let (has_a_say, cluster_of_two) = (self.has_a_say(), self.silos().count() == 2);
        let Some(member) = self.members.get_mut(id) else { return };
        // By what was read, not by what the clock says since: it may be this silo that did not read for long.
        let long_missing =
            member.missing.is_some_and(|missing| missing.last >= missing.since + self.missing_row_grace);
        let refused_by_the_only_other = has_a_say && cluster_of_two && probe == Probe::Refused;
        if long_missing || refused_by_the_only_other {
            self.evict(now, id);
        } else if has_a_say && !cluster_of_two {
            member.voted = true;
            self.actions.push(Action::Vote(member.info.clone()));
        }
    }

    fn evict(&mut self, now: Duration, id: &SiloId) {
        if self.has_a_say()
            && let Some(member) = self.members.get(id)
        {
            self.actions.push(Action::Evict(member.info.clone()));
        }
        self.out(now, id);
    }

    fn out(&mut self, now: Duration, id: &SiloId) {
        if let Some(member) = self.members.remove(id) {
            let incarnation = member.info.incarnation;
            self.departed.insert(id.clone(), Departed { incarnation, at: now, waiting: None });
            self.changed = true;
        }
    }

    fn is_doorstep(&self, silo: &SiloInfo) -> bool {
        let waiting = self.departed.get(&silo.silo_id).and_then(|departed| departed.waiting.as_ref());
        waiting.is_some_and(|info| info.incarnation == silo.incarnation && info.endpoint == silo.endpoint)
    }

    fn let_in(&mut self, id: &SiloId) {
        if let Some(info) = self.departed.remove(id).and_then(|departed| departed.waiting) {
            self.members.insert(id.clone(), Member::new(info));
            self.changed = true;
        }
    }
}

#[cfg(test)]
mod tests;
