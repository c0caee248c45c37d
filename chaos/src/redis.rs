//! The Redis of a run: a process in the hub, killed, started empty, stopped and continued.

use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::Result;
use crate::network::{HUB_ADDRESS, Place};
use crate::process::{die_with_parent, send_signal};
use crate::resp::Connection;

const PORT: &str = "6379";

/// A running Redis.
pub(crate) struct Redis {
    place: Place,
    program: String,
    child: Child,
}

impl Redis {
    pub(crate) fn start(program: &str, place: Place) -> Result<Self> {
        let child = spawn(program, &place)?;
        Ok(Self { place, program: program.to_owned(), child })
    }

    /// Where silos find it.
    pub(crate) fn address() -> String {
        format!("{HUB_ADDRESS}:{PORT}")
    }

    /// A connection of the run's own.
    pub(crate) fn connect(&self) -> Result<Connection> {
        Connection::new(self.place.connect(&Self::address())?)
    }

    pub(crate) async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Starts it again after it was killed, empty.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.child = spawn(&self.program, &self.place)?;
        Ok(())
    }

    pub(crate) fn signal(&self, signal: i32) -> Result<()> {
        send_signal(self.child.id().ok_or("Redis ended by itself")?, signal)
    }
}

fn spawn(program: &str, place: &Place) -> Result<Child> {
    let mut command = place.command(program);
    command.args(["--port", PORT, "--bind", HUB_ADDRESS, "--save", "", "--appendonly", "no"]);
    command.args(["--protected-mode", "no", "--loglevel", "warning"]).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut command = Command::from(command);
    command.process_group(0).kill_on_drop(true);
    die_with_parent(&mut command);
    Ok(command.spawn()?)
}
