//! What the keeper and the claim need of a store of rows, in their own words. `commands` does it in Redis; the simulation
//! has one of its own, which passes the same suite (`suite`).
//!
//! Nothing is decided here. Times are the store's own: no two machines' clocks are ever compared.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::changes::Changes;
use super::refusal::Answer;
use crate::id::SiloId;
use crate::membership::judge::Row;
use crate::silo_info::SiloInfo;

/// Where a store is, and how to get there. Cheap to clone.
pub(super) trait Server: fmt::Display + Clone + Send + Sync + 'static {
    type Store: Store;
    type Subscription: Subscription;

    fn connect(&self) -> impl Future<Output = Answer<Self::Store>> + Send;
    /// Hears what is said on the two channels from now on.
    fn subscribe(&self) -> impl Future<Output = Answer<Self::Subscription>> + Send;
    /// How a task of the silo runs: as it is, unless a simulation stops its process.
    fn task(&self, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        work
    }
}

/// What is said on the channels. Messages may be lost, doubled, forged and late.
pub(super) trait Subscription: Send {
    /// The next message; `None` when the connection is lost. Cancelling it loses nothing.
    fn next(&mut self) -> impl Future<Output = Option<String>> + Send;
    /// Whether the other side still answers.
    fn is_alive(&mut self) -> impl Future<Output = bool> + Send;
}

/// A connection to the store. Cheap to clone; clones share the connection. Any operation may be refused, and may have been
/// done all the same.
pub(super) trait Store: Clone + Send + Sync + 'static {
    type Time: Copy + Send + Sync;
    /// What stood in a row when it was looked at.
    type Seen: Send + Sync;
    /// Where a search through all keys goes on.
    type Cursor: Default + Send + Sync;

    /// Everything that a heartbeat reads; costs the same however many silos there are.
    fn pulse(
        &self,
        me: Option<&SiloId>,
        ttl: Duration,
    ) -> impl Future<Output = Answer<Pulse<Self::Time>>> + Send;

    /// Writes the row whole, with its place in the index, unless a later life stands there, or this one elsewhere. The count of lives and the version come back too if the store lost them: neither may ever run
    /// backwards.
    fn write_row(
        &self,
        info: &SiloInfo,
        now: Self::Time,
        ttl: Duration,
    ) -> impl Future<Output = Answer<Written>> + Send;

    /// A row, as it is for [`claim_row`](Self::claim_row), and how many lives of the id are counted.
    fn look_up(&self, id: &SiloId) -> impl Future<Output = Answer<(Row, Self::Seen, u64)>> + Send;

    /// Writes the row of this life if it still stands there as it was seen, and counts the life then; says whether it did.
    fn claim_row(
        &self,
        info: &SiloInfo,
        seen: &Self::Seen,
        ttl: Duration,
    ) -> impl Future<Output = Answer<bool>> + Send;

    /// Counts this life as over, deletes its row and its place in the index, and tells the others, unless that was done
    /// before. The row of another life stays.
    fn end_life(&self, silo: &SiloInfo) -> impl Future<Output = Answer<()>> + Send;

    /// Raises the version and records whose row is to be read, so that everybody reads it at the next heartbeat, and tells
    /// them to look at once.
    fn tell(&self, word: Word, id: &SiloId) -> impl Future<Output = Answer<()>> + Send;

    fn version(&self) -> impl Future<Output = Answer<Option<i64>>> + Send;

    /// Who changed since that version; nothing if the store cannot tell: then all rows are to be read. Costs as much as
    /// there are changes.
    fn changes(&self, since: i64) -> impl Future<Output = Answer<Option<Changes>>> + Send;

    /// The ids in the index.
    fn index(&self) -> impl Future<Output = Answer<Vec<SiloId>>> + Send;

    /// The rows of these silos; of those that are missing, with the count of their lives.
    fn rows(&self, ids: Vec<SiloId>) -> impl Future<Output = Answer<BTreeMap<SiloId, Row>>> + Send;

    /// Puts these silos into the index, as seen now; says whether any of them was not in it.
    fn index_add(&self, ids: &[SiloId]) -> impl Future<Output = Answer<bool>> + Send;

    /// Takes these silos out of the index, raises the version and records whom: whoever knows one still must look for its
    /// row, of which nothing reminds any more.
    fn index_remove(&self, ids: &[SiloId]) -> impl Future<Output = Answer<()>> + Send;

    /// Says that `voter` does not reach `silo`; returns how many silos say so.
    fn vote(&self, voter: &SiloId, silo: &SiloInfo) -> impl Future<Output = Answer<u64>> + Send;

    fn withdraw_vote(&self, voter: &SiloId, silo: &SiloInfo) -> impl Future<Output = Answer<()>> + Send;

    /// Asks the other silos to look at `silo`. Never on the membership channel: original silos read that one.
    fn ask_to_look(&self, silo: &SiloInfo) -> impl Future<Output = Answer<()>> + Send;

    /// One step through all keys in search of rows; returns the ids found and where to go on, if that was not all.
    fn scan(
        &self,
        from: Self::Cursor,
    ) -> impl Future<Output = Answer<(Vec<SiloId>, Option<Self::Cursor>)>> + Send;

    /// Does once, where it has no effect, what this silo will have to do only when others fail: a user that may not is
    /// told so now.
    fn rehearse(&self, id: &SiloId) -> impl Future<Output = Answer<()>> + Send;
}

/// What a silo learns from the store at each heartbeat.
pub(super) struct Pulse<Time> {
    pub(super) own_row: Row,
    /// How many lives of this id are counted.
    pub(super) lives: u64,
    /// The store's clock: the only one that the index compares.
    pub(super) now: Time,
    pub(super) version: Option<i64>,
    /// Silos of the index that did not write for a TTL.
    pub(super) overdue: Vec<SiloId>,
}

/// What became of a row that was to be written.
pub(super) enum Written {
    /// This very life stood there before.
    Again,
    /// It did not.
    Anew,
    /// Another one stands there, which may not be written over.
    Not(Row),
}

/// What is said on the membership channel.
#[derive(Clone, Copy)]
pub(super) enum Word {
    Join,
    Leave,
}

impl Word {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
        }
    }
}

/// How many steps of a scan a start spends on finding original silos where nobody of ours is there yet; the elected silo
/// then goes through all keys. Few: a whole cluster may start at once.
const SCAN_AT_START: usize = 8;
/// The same for whoever must know whether there are any.
const SCAN_TO_KNOW: usize = 64;

/// Of so many silos that were seen last, one at least is there if any of ours is.
const SEEN_LATELY: usize = 8;

/// The rows of original silos, which are in no index of their own making. Silos of ours that are there keep them in the
/// index, sooner or later, and its rows are left to be read later; where nobody is, and for whoever has the `need` to know,
/// this one looks for itself.
pub(super) async fn find_originals<S: Store>(store: &S, need: bool) -> Answer<Vec<Row>> {
    let is_original = |row: &Row| matches!(row, Row::Readable(info) if info.is_original());
    let mut known = store.index().await?;
    if !need {
        // The index outlives those who kept it; whoever is there was seen lately.
        known.drain(..known.len().saturating_sub(SEEN_LATELY));
    }
    let mut originals = BTreeMap::new();
    for (id, row) in store.rows(known).await? {
        if is_original(&row) {
            originals.insert(id, row);
        } else if matches!(row, Row::Readable(_) | Row::Away) && !need {
            return Ok(Vec::new());
        }
    }
    let mut cursor = Some(S::Cursor::default());
    for _ in 0..if need { SCAN_TO_KNOW } else { SCAN_AT_START } {
        let Some(from) = cursor else { break };
        let (ids, next) = store.scan(from).await?;
        originals.extend(store.rows(ids).await?.into_iter().filter(|(_, row)| is_original(row)));
        cursor = next;
    }
    Ok(originals.into_values().collect())
}
