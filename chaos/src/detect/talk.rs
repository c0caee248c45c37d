//! A conversation with an observed program: questions go out with a tag, and answers come back with it, in any order.

use std::collections::HashMap;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::Result;
use crate::process::Pipes;

/// How long an answer may take: the longest stop and the longest call, and more on a loaded machine.
const LIMIT: Duration = Duration::from_secs(15);

/// What a program found, and when, in milliseconds of the monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) at: u64,
    pub(crate) found: String,
}

/// Asks one life of one program. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Talk(mpsc::UnboundedSender<Word>);

enum Word {
    Question(String, oneshot::Sender<Answer>),
    Leave,
}

/// A question that has been sent.
pub(crate) struct Asked(oneshot::Receiver<Answer>);

impl Talk {
    /// Must be called within a `LocalSet`, where the conversation lives until the program ends.
    pub(crate) fn new(pipes: Pipes) -> Self {
        let (sender, words) = mpsc::unbounded_channel();
        tokio::task::spawn_local(converse(pipes, words));
        Self(sender)
    }

    /// Sends a question, now; its answer may be awaited later.
    pub(crate) fn ask(&self, question: String) -> Asked {
        let (sender, answer) = oneshot::channel();
        // When nobody takes it, the answer says so.
        let _ = self.0.send(Word::Question(question, sender));
        Asked(answer)
    }

    /// Closes the program's input, which tells it to leave.
    pub(crate) fn leave(&self) {
        let _ = self.0.send(Word::Leave);
    }
}

impl Asked {
    pub(crate) async fn answer(self) -> Result<Answer> {
        match timeout(LIMIT, self.0).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err("a program ended before it had answered".into()),
            Err(_) => Err(format!("a program did not answer within {LIMIT:?}").into()),
        }
    }
}

async fn converse(pipes: Pipes, mut words: mpsc::UnboundedReceiver<Word>) {
    let Pipes { input, mut output } = pipes;
    let mut input = Some(input);
    let mut waiting = HashMap::<u64, oneshot::Sender<Answer>>::new();
    for tag in 0_u64.. {
        let word = tokio::select! {
            line = output.next_line() => {
                let Ok(Some(line)) = line else { return };
                if let Some((tag, answer)) = parse(&line)
                    && let Some(asked) = waiting.remove(&tag)
                {
                    // Whoever asked may wait no more.
                    let _ = asked.send(answer);
                }
                continue;
            }
            word = words.recv(), if input.is_some() => word,
        };
        match (word, &mut input) {
            (Some(Word::Question(question, asked)), Some(input)) => {
                waiting.insert(tag, asked);
                // A program that has just died is noticed by the end of its output.
                let _ = input.write_all(format!("{tag} {question}\n").as_bytes()).await;
            }
            _ => input = None,
        }
    }
}

fn parse(line: &str) -> Option<(u64, Answer)> {
    let mut parts = line.splitn(3, ' ');
    let tag = parts.next()?.parse().ok()?;
    let at = parts.next()?.parse().ok()?;
    Some((tag, Answer { at, found: parts.next()?.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_its_tag_its_time_and_the_rest() {
        let answer = |at, found: &str| Answer { at, found: found.to_owned() };
        assert_eq!(parse("7 1234 ok rust-2"), Some((7, answer(1234, "ok rust-2"))));
        assert_eq!(parse("7 1234 "), Some((7, answer(1234, ""))), "nothing was found");
        for bad in ["", "7", "7 1234", "x 1 y", "7 x y"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
