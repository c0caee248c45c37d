//! A Redis of the run's own, and a connection to it that speaks as much of its protocol as is needed.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::info::Usage;

const START_LIMIT: Duration = Duration::from_secs(20);
/// How many keys one command writes, and how many commands are sent before their answers are read.
const KEYS_AT_ONCE: usize = 500;
const COMMANDS_AT_ONCE: usize = 20;

pub(crate) struct Server {
    child: Child,
    port: u16,
    connection: BufReader<TcpStream>,
}

impl Server {
    pub(crate) fn start(program: &str) -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(program);
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.args(["--loglevel", "warning", "--slowlog-log-slower-than", "5000"]);
        let child = command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let began = Instant::now();
        let connection = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break stream,
                Err(error) if began.elapsed() > START_LIMIT => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        Ok(Self { child, port, connection: BufReader::new(connection) })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Writes so many keys that are none of Quark's.
    pub(crate) fn fill(&mut self, keys: usize) -> Result<()> {
        let mut written = 0;
        while written < keys {
            let mut sent = 0;
            while written < keys && sent < COMMANDS_AT_ONCE {
                let until = keys.min(written + KEYS_AT_ONCE);
                let mut words = vec!["MSET".to_owned()];
                (written..until).for_each(|key| words.extend([format!("foreign:{key}"), "value".to_owned()]));
                self.send(&words)?;
                (written, sent) = (until, sent + 1);
            }
            for _ in 0..sent {
                self.read()?;
            }
        }
        Ok(())
    }

    /// What was used so far.
    pub(crate) fn usage(&mut self) -> Result<Usage> {
        Ok(Usage::of(&self.ask(&["INFO", "all"])?))
    }

    /// How many commands took 5 ms or more since it was last asked.
    pub(crate) fn slow_commands(&mut self) -> Result<f64> {
        let slow = self.ask(&["SLOWLOG", "LEN"])?.parse()?;
        self.ask(&["SLOWLOG", "RESET"])?;
        Ok(slow)
    }

    /// Sends a command and waits for its answer.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Result<String> {
        self.send(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())?;
        self.read()
    }

    fn send(&mut self, words: &[String]) -> Result<()> {
        let mut text = format!("*{}\r\n", words.len());
        words.iter().for_each(|word| text += &format!("${}\r\n{word}\r\n", word.len()));
        Ok(self.connection.get_mut().write_all(text.as_bytes())?)
    }

    fn read(&mut self) -> Result<String> {
        let mut line = String::new();
        self.connection.read_line(&mut line)?;
        let line = line.trim_end();
        match line.split_at_checked(1) {
            Some((":" | "+", said)) => Ok(said.to_owned()),
            Some(("$", length)) => {
                let length: usize = length.parse().map_err(|_| "no such value")?;
                let mut bytes = vec![0; length + 2];
                self.connection.read_exact(&mut bytes)?;
                Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
            }
            _ => Err(format!("Redis said {line:?}").into()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
