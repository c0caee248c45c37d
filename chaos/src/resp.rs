//! A connection to Redis that speaks its protocol, RESP, as far as a run needs it.

use std::net::TcpStream;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::timeout;

use crate::Result;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// What Redis answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Nothing,
    Number(i64),
    Text(String),
}

/// An open connection.
pub(crate) struct Connection(BufReader<tokio::net::TcpStream>);

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(BufReader::new(tokio::net::TcpStream::from_std(stream)?)))
    }

    /// Sends a command and waits for its answer.
    pub(crate) async fn ask(&mut self, words: &[&str]) -> Result<Reply> {
        let asked = async {
            self.0.write_all(command(words).as_bytes()).await?;
            self.read().await
        };
        timeout(LIMIT, asked).await.map_err(|_| format!("Redis did not answer {words:?} within {LIMIT:?}"))?
    }

    async fn read(&mut self) -> Result<Reply> {
        let mut line = String::new();
        self.0.read_line(&mut line).await?;
        match head(&line)? {
            Head::Whole(reply) => Ok(reply),
            Head::Bytes(length) => {
                let mut bytes = vec![0; length + END.len()];
                self.0.read_exact(&mut bytes).await?;
                bytes.truncate(length);
                Ok(Reply::Text(String::from_utf8(bytes)?))
            }
        }
    }
}

const END: &str = "\r\n";

/// A command is an array of strings.
fn command(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("${}{END}{word}{END}", word.len())).collect();
    format!("*{}{END}{}", words.len(), words.concat())
}

/// The first line of an answer.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    Whole(Reply),
    /// So many bytes follow.
    Bytes(usize),
}

fn head(line: &str) -> Result<Head> {
    let text = line.strip_suffix(END).ok_or("Redis hung up")?;
    let (kind, rest) = text.split_at_checked(1).ok_or("an empty line from Redis")?;
    match (kind, rest) {
        (":", number) => Ok(Head::Whole(Reply::Number(number.parse()?))),
        ("+", said) => Ok(Head::Whole(Reply::Text(said.to_owned()))),
        ("$", "-1") => Ok(Head::Whole(Reply::Nothing)),
        ("$", length) => Ok(Head::Bytes(length.parse()?)),
        ("-", error) => Err(format!("Redis refused: {error}").into()),
        _ => Err(format!("not an answer that is understood: {text:?}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_counts_its_words_and_their_bytes() {
        assert_eq!(command(&["DEL", "ä"]), "*2\r\n$3\r\nDEL\r\n$2\r\nä\r\n");
    }

    #[test]
    fn answers_are_read_and_refusals_are_errors() {
        assert_eq!(head(":1\r\n").unwrap(), Head::Whole(Reply::Number(1)));
        assert_eq!(head("+PONG\r\n").unwrap(), Head::Whole(Reply::Text("PONG".to_owned())));
        assert_eq!(head("$-1\r\n").unwrap(), Head::Whole(Reply::Nothing));
        assert_eq!(head("$12\r\n").unwrap(), Head::Bytes(12));
        assert!(head("-ERR unknown command\r\n").unwrap_err().to_string().contains("ERR unknown command"));
        for bad in ["", "\r\n", "*1\r\n", ":x\r\n", ":1"] {
            assert!(head(bad).is_err(), "{bad:?}");
        }
    }
}
