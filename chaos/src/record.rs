//! The ledger of a running process, written so that a SIGKILL loses no line. How lines look is said in `ledger`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};

/// A ledger that is written.
pub(crate) struct Record(File);

impl Record {
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(path).map(Self)
    }

    /// One line, by one `write(2)`.
    pub(crate) fn write(&self, line: &str) {
        let line = format!("{line}\n");
        (&self.0).write_all(line.as_bytes()).expect("a run without its ledger proves nothing");
    }
}

/// Milliseconds of the monotonic clock, which all processes of a machine share.
pub(crate) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    (time.tv_sec * 1000 + time.tv_nsec / 1_000_000).unsigned_abs()
}
