//! What the keeper reads in the store and writes there: its heartbeat, the rows of the others, the index, the search for
//! original silos.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::{Keeper, SCAN_PAUSE};
use crate::id::SiloId;
use crate::membership::judge::Row;
use crate::membership::redis::changes::Changes;
use crate::membership::redis::refusal::Refusal;
use crate::membership::redis::store::{Server, Store, Word, Written};

/// How many rows a heartbeat reads although nothing is known to have changed.
const CHECKED_AT_ONCE: usize = 8;

/// What was read of one silo.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Found {
    Row,
    Nothing,
    /// The node of the store that holds it is away.
    Away,
}

impl<V: Server> Keeper<V> {
    /// One heartbeat: learns whether this life goes on, writes the row, and reads what changed.
    pub(super) async fn beat(&mut self) -> Result<(), Refusal> {
        let Some(store) = self.link.store.clone() else { return Ok(()) };
        let me = self.myself.as_ref().map(|info| info.silo_id.clone());
        let pulse = self.ask(store.pulse(me.as_ref(), self.config.ttl)).await?;
        if let Some(me) = &me {
            self.learn_of_myself(me, &pulse.own_row, pulse.lives);
            self.write_row(&store, pulse.now).await?;
            self.tell(&store).await?;
        }
        if pulse.version.is_none() || pulse.version != self.version_read {
            self.catch_up(&store, BTreeSet::new()).await?;
        }
        let mut doubtful: BTreeSet<_> =
            pulse.overdue.iter().chain(self.lookout.judge.missing()).cloned().collect();
        doubtful.extend(self.next_to_check());
        if !doubtful.is_empty() {
            let rows = self.read(&store, doubtful).await?;
            self.refresh_index(&store, &pulse.overdue, &rows).await?;
        }
        Ok(())
    }

    /// The next few silos by id, whose rows are read whatever the version says: who removed one may have failed to tell.
    fn next_to_check(&mut self) -> Vec<SiloId> {
        let next = self.lookout.judge.followers(self.checked.as_ref(), CHECKED_AT_ONCE);
        self.checked = next.last().cloned();
        next
    }

    /// Tells the others of this silo's row, if that is to be told, until it was told.
    async fn tell(&mut self, store: &V::Store) -> Result<(), Refusal> {
        let Some(myself) = self.myself.as_ref().filter(|_| self.untold && !self.lookout.judge.is_out())
        else {
            return Ok(());
        };
        let me = myself.silo_id.clone();
        self.ask(store.tell(Word::Join, &me)).await?;
        self.untold = false;
        Ok(())
    }

    /// A row that is there does not say that its life goes on: the count may be higher.
    fn learn_of_myself(&mut self, me: &SiloId, own_row: &Row, lives: u64) {
        let now = self.lookout.now();
        self.lookout.judge.row(now, me, own_row.clone());
        self.lookout.judge.row(now, me, Row::Missing { lives });
    }

    /// Writes the row, unless this life is over.
    async fn write_row(&mut self, store: &V::Store, now: <V::Store as Store>::Time) -> Result<(), Refusal> {
        let Some(myself) = self.myself.as_mut().filter(|_| !self.lookout.judge.is_out()) else {
            return Ok(());
        };
        myself.last_heartbeat = time::OffsetDateTime::now_utc();
        // It may have been written and the answer lost.
        let untold = std::mem::replace(&mut self.untold, true);
        let myself = myself.clone();
        match self.ask(store.write_row(&myself, now, self.config.ttl)).await? {
            Written::Again => self.untold = untold,
            // Lost with the store, or an earlier life stood there: the others learn that it is here.
            Written::Anew => {}
            Written::Not(in_the_way) => {
                self.untold = untold;
                let id = myself.silo_id.clone();
                self.lookout.judge.row(self.lookout.now(), &id, in_the_way);
            }
        }
        Ok(())
    }

    /// Overdue silos whose row is there do not keep the index themselves (original ones); others are gone.
    async fn refresh_index(
        &self,
        store: &V::Store,
        overdue: &[SiloId],
        rows: &[(SiloId, Found)],
    ) -> Result<(), Refusal> {
        if self.myself.is_none() {
            return Ok(());
        }
        let (absent, present): (Vec<_>, Vec<_>) = rows
            .iter()
            .filter(|(id, _)| overdue.contains(id))
            .cloned()
            .partition(|(_, found)| *found == Found::Nothing);
        let ids = |rows: Vec<(SiloId, Found)>| rows.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        let forgotten: Vec<_> = ids(absent).into_iter().filter(|id| !self.lookout.judge.is_in(id)).collect();
        let present = ids(present);
        if !present.is_empty() {
            store.index_add(&present).await?;
        }
        if !forgotten.is_empty() {
            store.index_remove(&forgotten).await?;
        }
        Ok(())
    }

    /// Reads the rows of all silos that the index or this silo knows.
    pub(super) async fn read_all(&mut self, store: &V::Store) -> Result<(), Refusal> {
        // The version first: a change that comes between is then read twice rather than never.
        let version = self.ask(store.version()).await?;
        let mut ids: BTreeSet<_> = self.ask(store.index()).await?.into_iter().collect();
        ids.extend(self.lookout.judge.silos().map(|info| info.silo_id.clone()));
        ids.extend(self.myself.as_ref().map(|myself| myself.silo_id.clone()));
        let rows = self.ask(store.rows(ids.into_iter().collect())).await?;
        let lost =
            self.myself.as_ref().is_some_and(|me| !matches!(rows.get(&me.silo_id), Some(Row::Readable(_))));
        // Rows whose node is away are read again at the next heartbeat.
        let complete = !rows.values().any(|row| matches!(row, Row::Away));
        self.lookout.judge.rows(self.lookout.now(), rows);
        self.version_read = version.filter(|_| complete);
        if lost { self.restore(store).await } else { Ok(()) }
    }

    /// Reads the rows of those who changed since this silo last looked, and these; all of them if the store cannot tell who
    /// did.
    pub(super) async fn catch_up(&mut self, store: &V::Store, also: BTreeSet<SiloId>) -> Result<(), Refusal> {
        let changes = match self.version_read {
            Some(since) => self.ask(store.changes(since)).await?,
            None => None,
        };
        let Some(Changes { version, mut ids }) = changes else {
            self.read_all(store).await?;
            // Of those who are in no index, which originals are not at first.
            return if also.is_empty() { Ok(()) } else { self.read(store, also).await.map(drop) };
        };
        ids.extend(also);
        // Until they are read; rows whose node is away are read again, with all others.
        self.version_read = None;
        let complete =
            ids.is_empty() || !self.read(store, ids).await?.iter().any(|(_, found)| *found == Found::Away);
        self.version_read = Some(version).filter(|_| complete);
        Ok(())
    }

    /// Reads these rows; says of each whether there is one.
    pub(super) async fn read(
        &mut self,
        store: &V::Store,
        ids: BTreeSet<SiloId>,
    ) -> Result<Vec<(SiloId, Found)>, Refusal> {
        let mut all = Vec::new();
        let mut originals = Vec::new();
        for (id, row) in self.ask(store.rows(ids.into_iter().collect())).await? {
            let found = match &row {
                Row::Missing { .. } => Found::Nothing,
                Row::Away => Found::Away,
                Row::Readable(_) | Row::Unreadable => Found::Row,
            };
            if matches!(&row, Row::Readable(info) if info.is_original()) {
                originals.push(id.clone());
            }
            self.lookout.judge.row(self.lookout.now(), &id, row);
            if found == Found::Nothing && self.myself.as_ref().is_some_and(|me| me.silo_id == id) {
                self.restore(store).await?;
            }
            all.push((id, found));
        }
        if !originals.is_empty() && self.lookout.judge.is_elected() {
            self.adopt(store, &originals).await?;
        }
        Ok(all)
    }

    /// Puts original silos, which are in no index of their own making, into it; of those that were not, all are told.
    async fn adopt(&mut self, store: &V::Store, originals: &[SiloId]) -> Result<(), Refusal> {
        for id in originals {
            if self.ask(store.index_add(std::slice::from_ref(id))).await? {
                self.ask(store.tell(Word::Join, id)).await?;
            }
        }
        Ok(())
    }

    /// The row is not there, or is no longer right: writes it, and lets the others know.
    pub(super) async fn restore(&mut self, store: &V::Store) -> Result<(), Refusal> {
        let Some(me) = self.myself.as_ref().map(|myself| myself.silo_id.clone()) else { return Ok(()) };
        let pulse = self.ask(store.pulse(Some(&me), self.config.ttl)).await?;
        self.untold = true;
        self.write_row(store, pulse.now).await?;
        self.tell(store).await
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of several turns, of which most can fail")]
    pub(super) fn begin_scan(&mut self) -> Result<(), Refusal> {
        if self.lookout.judge.is_elected() {
            self.scan.get_or_insert_with(|| (Default::default(), Instant::now()));
        }
        Ok(())
    }

    /// One step of the search for original silos; others may come between two steps.
    pub(super) async fn scan_on(&mut self) -> Result<(), Refusal> {
        let Some((cursor, _)) = self.scan.take() else { return Ok(()) };
        let Some(store) = self.link.store.clone() else { return Ok(()) };
        let (ids, next) = self.ask(store.scan(cursor)).await?;
        self.scan = next.map(|cursor| (cursor, Instant::now() + SCAN_PAUSE));
        let ids: BTreeSet<_> = ids.into_iter().filter(|id| !self.lookout.judge.is_ours(id)).collect();
        if ids.is_empty() { Ok(()) } else { self.read(&store, ids).await.map(drop) }
    }
}
