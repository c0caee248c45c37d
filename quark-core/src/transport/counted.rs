//! Parts of the inside whose instructions `cargo xtask instructions` counts.

use std::time::Duration;

use tokio::time::Instant;

use super::pending::{Completion, Pending};
use crate::envelope::Text;

/// How many calls wait in the table beside the one that is counted.
const OTHERS: usize = 1000;

/// The table of calls that wait for their ending.
pub struct PendingTable {
    table: Pending,
    deadline: Instant,
}

impl PendingTable {
    /// A table in use.
    #[must_use]
    pub fn in_use() -> Self {
        let now = Instant::now();
        let mut counted = Self { table: Pending::new(7, now), deadline: now + Duration::from_secs(30) };
        (0..OTHERS).for_each(|_| drop(counted.begin()));
        counted
    }

    fn begin(&mut self) -> Option<Text> {
        let nothing = Completion::Callback(Box::new(|_| {}));
        let ticket = self.table.insert(self.deadline, None, None, nothing).ok()?;
        Some(self.table.message_id(ticket))
    }

    /// One call: begins, gets its message id, is found by it, and ends. Says whether it did.
    pub fn call(&mut self) -> bool {
        let found = self.begin().and_then(|id| self.table.find(&id));
        found.and_then(|ticket| self.table.remove(ticket)).is_some()
    }
}
