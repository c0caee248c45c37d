//! How a silo makes an id its own, at its start and when it was put out, so that of any number that try at once only one
//! succeeds.
//!
//! Each looks at the row and, if whoever stands there is gone, writes its own row over exactly that one. Whoever comes
//! second finds another row than it saw, and a live silo in it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::refusal::Refusal;
use super::store::{Store, Word};
use crate::membership::MembershipConfig;
use crate::membership::judge::Row;
use crate::probe::{Probe, Prober};
use crate::silo_info::{SiloInfo, SiloStatus};

/// How long to wait before looking again at a silent predecessor.
const PAUSE: Duration = Duration::from_millis(50);

/// Why an id could not be claimed.
pub(super) enum Failure {
    Store(Refusal),
    /// Another live silo has it.
    InUse(Arc<SiloInfo>),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Store(refusal)
    }
}

/// Claims `info`'s id, gives it its incarnation, writes its row and tells the others. Waits for a silent predecessor until
/// the deadline: it may live behind a broken network; when its row expires, it does not.
pub(super) async fn claim(
    store: &impl Store,
    info: &mut SiloInfo,
    config: &MembershipConfig,
    prober: &dyn Prober,
    deadline: Instant,
) -> Result<(), Failure> {
    loop {
        let (row, seen, lives) = store.look_up(&info.silo_id).await?;
        let mut predecessor = 0;
        let mut silent = None;
        if let Row::Readable(row) = &row {
            predecessor = row.incarnation;
            if row.endpoint != info.endpoint && row.status != SiloStatus::Dead {
                match prober.probe(&info.silo_id, row, config.probe_timeout).await {
                    Probe::Answered => return Err(Failure::InUse(row.clone())),
                    Probe::Refused => {}
                    Probe::Silent => silent = Some(row.clone()),
                }
            }
        }
        if silent.is_none() {
            info.incarnation = lives.max(predecessor).max(info.incarnation).saturating_add(1);
            info.last_heartbeat = time::OffsetDateTime::now_utc();
            if store.claim_row(info, &seen, config.ttl).await? {
                store.tell(Word::Join, &info.silo_id).await?;
                return Ok(());
            }
            // Somebody else was faster; the next look tells who.
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(silent.map_or_else(|| Failure::Store(Refusal::no_answer()), Failure::InUse));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
