//! The silos as processes of their own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::Result;

/// How long a silo may take to say that it is ready.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How silos find each other.
pub(crate) struct Meeting {
    /// The same URL for all, or gossip around the first silo.
    pub(crate) url: Option<String>,
    pub(crate) cluster: String,
    seed: Option<String>,
}

impl Meeting {
    pub(crate) fn new(url: Option<&str>) -> Self {
        // A cluster of its own, so that two demos on one Redis do not meet.
        let cluster = format!("demo-{}", std::process::id());
        Self { url: url.map(str::to_owned), cluster, seed: None }
    }

    /// The membership URL of whoever joins next.
    pub(crate) fn url(&self) -> String {
        match (&self.url, &self.seed) {
            (Some(url), _) => url.clone(),
            (None, None) => "gossip://127.0.0.1:0".to_owned(),
            (None, Some(seed)) => format!("gossip://127.0.0.1:0?seed={seed}"),
        }
    }
}

/// A silo's process. Dropped, it is told to go and waited for.
pub(crate) struct SiloProcess {
    pub(crate) id: String,
    pub(crate) language: &'static str,
    pub(crate) endpoint: String,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl SiloProcess {
    /// Starts `program` as the silo `id` and waits until it is ready.
    pub(crate) fn start(
        id: &str,
        language: &'static str,
        program: &[&str],
        meeting: &mut Meeting,
    ) -> Result<Self> {
        let mut child = Command::new(program[0])
            .args(&program[1..])
            .args([id, &meeting.url(), &meeting.cluster])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", program[0]))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
                let _ = sender.send(line);
            }
        });
        let line = receiver.recv_timeout(START_LIMIT).map_err(|_| format!("silo {id} did not start"))?;
        let ["ready", endpoint, gossip] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            return Err(format!("silo {id} said {line:?}").into());
        };
        if gossip != "-" && meeting.seed.is_none() {
            meeting.seed = Some(gossip.to_owned());
        }
        Ok(Self { id: id.to_owned(), language, endpoint: endpoint.to_owned(), child, stdin })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it to leave, and does not wait.
    pub(crate) fn dismiss(&mut self) {
        drop(self.stdin.take());
    }

    /// SIGKILL: the process ends between two instructions and tells nobody.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for SiloProcess {
    fn drop(&mut self) {
        self.dismiss();
        for _ in 0..200 {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
