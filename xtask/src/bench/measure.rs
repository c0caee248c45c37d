//! One measurement: fresh processes that serve, one that calls, and a limit after which all of them are killed.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::drivers::Drivers;
use super::figures::{Figures, of_line};
use super::table::{Load, Subject};
use crate::process::{Failure, Result, shown};

/// How long each measurement takes.
pub(super) struct Times {
    pub(super) warm_up: f64,
    pub(super) measured: f64,
    pub(super) rounds: usize,
}

/// What starting and ending may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that does not outlive this.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that serves ends with its standard input; a whole cluster takes some seconds for that.
        drop(self.0.stdin.take());
        let limit = Instant::now() + Duration::from_secs(10);
        while Instant::now() < limit {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub(super) fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

/// Starts a process that serves; returns it and the address that it told.
pub(super) fn serve(mut command: Command) -> Result<(Running, String)> {
    let failed = |what: &str, command: &Command| Failure::new(format!("{}: {what}", shown(command)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = Running(command.spawn().map_err(|error| failed(&error.to_string(), &command))?);
    let stdout = running.0.stdout.take().expect("piped above");
    let (told, line) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(stdout).read_line(&mut line);
        let _ = told.send(line);
    });
    let line = line.recv_timeout(PATIENCE).unwrap_or_default();
    match line.trim().strip_prefix("ready ") {
        Some(address) => Ok((running, address.to_owned())),
        None => Err(failed("did not get ready", &command)),
    }
}

/// Runs a process that calls, and returns the figures in its line of JSON.
pub(crate) fn call(mut command: Command, limit: Duration) -> Result<Figures> {
    let failed = |what: String, command: &Command| Failure::new(format!("{}: {what}", shown(command)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(error.to_string(), &command))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut running = Running(child);
    let said = collect(stdout.expect("piped above"));
    let complained = collect(stderr.expect("piped above"));
    let end = Instant::now() + limit;
    let status = loop {
        if let Ok(Some(status)) = running.0.try_wait() {
            break status;
        }
        if Instant::now() > end {
            let _ = running.0.kill();
            return Err(failed(format!("no end within {} s", limit.as_secs()), &command));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = said.recv().unwrap_or_default();
    let figures = of_line(&text);
    if status.success() && !figures.is_empty() {
        return Ok(figures);
    }
    Err(failed(format!("{status}\n{text}{}", complained.recv().unwrap_or_default()), &command))
}

/// Reads all, beside the process that writes it.
fn collect(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (told, text) = mpsc::channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = from.read_to_end(&mut all);
        let _ = told.send(String::from_utf8_lossy(&all).into_owned());
    });
    text
}

/// Measures a subject once.
pub(super) fn measure(drivers: &Drivers, subject: &Subject, load: &Load, times: &Times) -> Result<Figures> {
    let core = load.one_core.then(first_core);
    let mut servers = Vec::new();
    let mut targets = Vec::new();
    if let Some((driver, word)) = subject.serve {
        for number in 0..subject.silos {
            let name = format!("server-{number}");
            let mut command = drivers.command(driver, core.as_deref());
            command.args(["serve", word, &name]);
            let (server, address) = serve(command)?;
            servers.push(server);
            targets.push(format!("{name}@{address}"));
        }
    }
    let or_none = |words: Vec<String>| if words.is_empty() { "-".to_owned() } else { words.join(",") };
    let pids = or_none(servers.iter().map(Running::pid).collect());
    let mut command = drivers.command(subject.call.0, core.as_deref());
    command.args(["call", subject.call.1, &or_none(targets)]);
    for number in [load.depth, load.payload, subject.actors] {
        command.arg(number.to_string());
    }
    command.args([times.measured.to_string(), times.warm_up.to_string(), pids]);
    call(command, PATIENCE + Duration::from_secs_f64(2.0 * (times.warm_up + times.measured)))
}

/// The first core on which this process may run.
fn first_core() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("0");
    list.trim().split([',', '-']).next().unwrap_or("0").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_caller_that_hangs_is_killed_and_named() {
        let began = Instant::now();
        let failure = call(sh("exec sleep 60"), Duration::from_millis(100)).unwrap_err().to_string();
        assert!(failure.contains("sleep 60: no end within"), "{failure}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_caller_that_fails_says_why() {
        let failure = call(sh("echo broken >&2; exit 3"), PATIENCE).unwrap_err().to_string();
        assert!(failure.contains("exit status: 3") && failure.contains("broken"), "{failure}");
    }

    #[test]
    fn a_server_tells_its_address_and_ends_with_its_input() {
        let (server, address) = serve(sh("echo ready here; exec cat")).unwrap();
        assert_eq!(address, "here");
        let began = Instant::now();
        drop(server);
        assert!(began.elapsed() < Duration::from_secs(1));
        assert!(serve(sh("echo no")).is_err());
    }
}
