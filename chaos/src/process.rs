//! The processes of a run: started, told to be quiet or to leave, stopped, killed, started again as another life.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::Result;
use crate::network::Place;

/// How long a program may take to say that it is ready.
const START_LIMIT: Duration = Duration::from_secs(40);
/// How long a silo may take to come back; a store that is away and a predecessor that is not believed dead take time.
const RETURN_LIMIT: Duration = Duration::from_secs(90);
/// How long a program may take to leave; it drains for five seconds.
const LEAVE_LIMIT: Duration = Duration::from_secs(30);
/// How long calls may take to end: their longest timeout and much more.
const QUIET_LIMIT: Duration = Duration::from_secs(30);

/// What a process is and how it is started.
pub(crate) struct Description {
    /// The language, a dash, and what tells it from the others.
    pub(crate) id: String,
    pub(crate) is_client: bool,
    /// The program and its first arguments.
    pub(crate) program: Vec<String>,
    /// Its namespace; none on loopback.
    pub(crate) place: Option<Place>,
    pub(crate) url: String,
    pub(crate) cluster: String,
    /// Where its ledgers and logs are written; without, no ledgers and no logs are kept.
    pub(crate) folder: Option<PathBuf>,
    /// What it is told of certificates and of the network, in its environment.
    pub(crate) security: Vec<(&'static str, String)>,
    /// Calls that it makes and writes down, a second; none for one that calls only when it is told to.
    pub(crate) rate: Option<u32>,
}

/// A silo or a client in its present life.
pub(crate) struct Process {
    description: Description,
    life: u32,
    running: Option<Running>,
}

struct Running {
    child: Child,
    /// Gone when somebody took them.
    pipes: Option<Pipes>,
}

/// What is said to a process, and what it says. It leaves when its input is closed.
pub(crate) struct Pipes {
    pub(crate) input: ChildStdin,
    pub(crate) output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(crate) fn new(description: Description) -> Self {
        Self { description, life: 0, running: None }
    }

    pub(crate) fn id(&self) -> &str {
        &self.description.id
    }

    /// `id:life`, as in the ledgers.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.description.id, self.life)
    }

    pub(crate) fn place(&self) -> &Place {
        self.description.place.as_ref().expect("faults of the network are made in namespaces only")
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.running.as_ref()?.child.id()
    }

    /// Begins its next life and waits until it is ready.
    pub(crate) async fn start(&mut self) -> Result<()> {
        self.life += 1;
        let mut child = self.command()?.spawn()?;
        let input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped")).lines();
        let first = timeout(START_LIMIT, output.next_line()).await;
        match first {
            Ok(Ok(Some(line))) if line.starts_with("ready ") => {
                self.running = Some(Running { child, pipes: Some(Pipes { input, output }) });
                Ok(())
            }
            other => {
                let _ = child.start_kill();
                let status = child.wait().await?;
                let said = other.map_or_else(|_| "nothing".to_owned(), |line| format!("{line:?}"));
                Err(format!("{} did not start: it said {said}, {status}: {}", self.name(), self.last_words())
                    .into())
            }
        }
    }

    /// Begins its next life, however often that fails at first; tells each failure.
    pub(crate) async fn bring_back(&mut self, mut failed: impl FnMut(&str)) -> Result<()> {
        let began = Instant::now();
        loop {
            let Err(error) = self.start().await else { return Ok(()) };
            failed(&error.to_string());
            if began.elapsed() > RETURN_LIMIT {
                return Err(format!("{} did not come back: {error}", self.id()).into());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn command(&self) -> Result<Command> {
        let Description { id, is_client, program, place, url, cluster, security, rate, .. } =
            &self.description;
        let mut command = match place {
            Some(place) => place.command(&program[0]),
            None => std::process::Command::new(&program[0]),
        };
        let host = place.as_ref().map_or("127.0.0.1", |place| &place.address);
        command.args(&program[1..]).arg(if *is_client { "client" } else { "silo" });
        command.args([id, &self.life.to_string(), url, cluster, host]);
        command.envs(security.iter().map(|(name, value)| (name, value)));
        if let Some(rate) = rate {
            command.arg(self.file("ledger").unwrap_or_else(|| "/dev/null".into())).arg(rate.to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(match self.file("log") {
            Some(log) => Stdio::from(File::create(log)?),
            None => Stdio::null(),
        });
        let mut command = Command::from(command);
        // Ctrl-C is for the run, which ends its processes itself.
        command.process_group(0).kill_on_drop(true);
        die_with_parent(&mut command);
        Ok(command)
    }

    /// A file of its present life.
    fn file(&self, kind: &str) -> Option<PathBuf> {
        let Description { id, folder, .. } = &self.description;
        Some(folder.as_ref()?.join(format!("{id}.{}.{kind}", self.life)))
    }

    /// The last line of its log.
    fn last_words(&self) -> String {
        let log = self.file("log").and_then(|log| fs::read_to_string(log).ok()).unwrap_or_default();
        log.lines().next_back().unwrap_or("(no log)").to_owned()
    }

    /// How it ended, if it did so by itself; said once.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.running.as_mut()?.child.try_wait().ok()??;
        self.running = None;
        Some(status)
    }

    /// Its pipes, for whoever speaks with it from now on.
    pub(crate) fn take_pipes(&mut self) -> Result<Pipes> {
        let pipes = self.running.as_mut().and_then(|running| running.pipes.take());
        pipes.ok_or_else(|| format!("nobody can speak with {}", self.name()).into())
    }

    /// SIGKILL: it ends between two instructions and tells nobody.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        if let Some(mut running) = self.running.take() {
            running.child.kill().await?;
        }
        Ok(())
    }

    pub(crate) fn signal(&self, signal: i32) -> Result<()> {
        let pid = self.pid().ok_or_else(|| format!("{} does not run", self.name()))?;
        send_signal(pid, signal)
    }

    /// Tells it to make no more calls and waits until all have ended; how many succeeded and failed.
    pub(crate) async fn quiet(&mut self) -> Result<(u64, u64)> {
        let name = self.name();
        let pipes = self.running.as_mut().and_then(|running| running.pipes.as_mut());
        let Some(pipes) = pipes else { return Err(format!("{name} does not run").into()) };
        pipes.input.write_all(b"quiet\n").await?;
        let line = timeout(QUIET_LIMIT, pipes.output.next_line()).await;
        if let Ok(Ok(Some(line))) = &line
            && let ["quiet", succeeded, failed] = line.split(' ').collect::<Vec<_>>()[..]
        {
            return Ok((succeeded.parse()?, failed.parse()?));
        }
        Err(format!("{name}: its calls had not ended after {QUIET_LIMIT:?}: {line:?}").into())
    }

    /// Tells it to leave and waits until it has ended well.
    pub(crate) async fn leave(&mut self) -> Result<()> {
        let name = self.name();
        let Some(Running { mut child, pipes }) = self.running.take() else { return Ok(()) };
        // It may still say something.
        let _output = pipes.map(|pipes| pipes.output);
        let status = timeout(LEAVE_LIMIT, child.wait()).await;
        match status {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => Err(format!("{name} left badly, {}: {}", status?, self.last_words()).into()),
            Err(_) => {
                child.kill().await?;
                Err(format!("{name} did not leave within {LEAVE_LIMIT:?}").into())
            }
        }
    }
}

/// Sends a signal to a process of ours.
pub(crate) fn send_signal(pid: u32, signal: i32) -> Result<()> {
    let pid = i32::try_from(pid)?;
    // SAFETY: no memory is involved.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}

/// Even a killed run leaves no process behind.
pub(crate) fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is a system call, which may be made between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
}

/// A folder without what an earlier run left there.
pub(crate) fn fresh_folder(folder: &PathBuf) -> Result<()> {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(())
}
