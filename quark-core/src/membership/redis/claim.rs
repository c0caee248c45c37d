//! How a starting silo makes an id its own, so that of any number that try at once only one succeeds.
//!
//! A short lock lets one claimant at a time look at the predecessor's row. It writes its own row before it gives the
//! lock back, so the next claimant finds a live silo.

use std::time::Duration;

use tokio::time::Instant;

use super::store::{Refusal, Store, Word};
use crate::endpoint::Endpoint;
use crate::membership::MembershipConfig;
use crate::membership::judge::Row;
use crate::membership::probe::{Probe, probe};
use crate::silo_info::{SiloInfo, SiloStatus};

/// How long a claimant may hold the lock on top of its probe. One that stalls for longer starts anew.
const LOCK_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait before looking again at a silent predecessor or a taken lock.
const PAUSE: Duration = Duration::from_millis(50);

/// Why an id could not be claimed.
pub(super) enum Failure {
    Store(Refusal),
    /// Another live silo has it, at this endpoint.
    InUse(Endpoint),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Store(refusal)
    }
}

/// Claims `info`'s id, gives it its incarnation, writes its row and tells the others.
pub(super) async fn claim(
    store: &Store,
    info: &mut SiloInfo,
    config: &MembershipConfig,
    deadline: Instant,
) -> Result<(), Failure> {
    let token = uuid::Uuid::new_v4().to_string();
    let mut silent_at = None;
    loop {
        if store.lock_claim(&info.silo_id, &token, LOCK_LIMIT + config.probe_timeout).await? {
            let locked_until = Instant::now() + LOCK_LIMIT;
            let outcome = claim_locked(store, info, config, locked_until).await;
            store.unlock_claim(&info.silo_id, &token).await?;
            match outcome? {
                Outcome::Claimed => return Ok(()),
                Outcome::PredecessorSilent(endpoint) => silent_at = Some(endpoint),
                Outcome::Stalled => {}
            }
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(silent_at.map_or_else(|| Failure::Store(Refusal::no_answer()), Failure::InUse));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

enum Outcome {
    Claimed,
    /// It may live behind a broken network; when its row expires, it does not.
    PredecessorSilent(Endpoint),
    Stalled,
}

async fn claim_locked(
    store: &Store,
    info: &mut SiloInfo,
    config: &MembershipConfig,
    locked_until: Instant,
) -> Result<Outcome, Failure> {
    let mut predecessor = 0;
    if let Row::Readable(row) = store.row(&info.silo_id).await? {
        predecessor = row.incarnation;
        if row.endpoint != info.endpoint && row.status != SiloStatus::Dead {
            match probe(&row.endpoint, config.probe_timeout).await {
                Probe::Answered => return Err(Failure::InUse(row.endpoint.clone())),
                Probe::Refused => {}
                Probe::Silent => return Ok(Outcome::PredecessorSilent(row.endpoint.clone())),
            }
        }
    }
    info.incarnation = store.next_incarnation(&info.silo_id, predecessor).await?;
    info.last_heartbeat = time::OffsetDateTime::now_utc();
    let now = store.time().await?;
    if Instant::now() >= locked_until {
        return Ok(Outcome::Stalled);
    }
    store.write_row(info, now, config.ttl).await?;
    store.tell(Word::Join, &info.silo_id).await?;
    Ok(Outcome::Claimed)
}
