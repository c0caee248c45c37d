//! Ledgers: what each process wrote down of its calls and its handler's executions, read back.
//!
//! A line is written with one `write(2)` to a file opened for appending, so that it survives a SIGKILL whole. The words of
//! a line are separated by spaces; `CALL` is `sender:life:actor:number`, times are milliseconds of the monotonic clock,
//! which all processes of a machine share.
//!
//! ```text
//! begin CALL call|notify TIMEOUT SIZE AT VIEW       a call is about to be made, by the caller's view of that version
//! end CALL ok|CODE -|no|yes|unknown AT VIEW REPLY   it ended; REPLY is - unless there was one
//! ran CALL ACTOR SILO LIFE AT VIEW                  a handler begins to execute it; its silo was chosen by that view
//! ```

use std::collections::HashMap;
use std::io::BufRead;

/// A name that occurs in many lines, by its place among all names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name(u32);

/// All names that occur.
#[derive(Default)]
pub(crate) struct Names {
    places: HashMap<Box<str>, Name>,
    texts: Vec<Box<str>>,
}

impl Names {
    fn intern(&mut self, text: &str) -> Name {
        if let Some(name) = self.places.get(text) {
            return *name;
        }
        let name = Name(u32::try_from(self.texts.len()).expect("fewer names than lines"));
        self.texts.push(text.into());
        self.places.insert(text.into(), name);
        name
    }

    pub(crate) fn text(&self, name: Name) -> &str {
        &self.texts[name.0 as usize]
    }
}

/// A call: who made it (`sender:life`), to which actor, and the how-manieth of that sender to that actor it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CallId {
    pub(crate) caller: Name,
    pub(crate) actor: Name,
    pub(crate) number: u32,
}

/// A call was about to be made.
pub(crate) struct Begin {
    pub(crate) call: CallId,
    pub(crate) one_way: bool,
    pub(crate) timeout: u64,
    pub(crate) size: u64,
    pub(crate) at: u64,
    pub(crate) view: u64,
}

/// A call ended.
pub(crate) struct End {
    pub(crate) call: CallId,
    pub(crate) outcome: Name,
    pub(crate) delivered: Delivered,
    pub(crate) at: u64,
    /// Only when it is another than the expected one.
    pub(crate) reply: Box<str>,
}

/// A handler began to execute a call.
pub(crate) struct Ran {
    pub(crate) call: CallId,
    pub(crate) actor: Name,
    /// `silo:life`
    pub(crate) on: Name,
    pub(crate) at: u64,
    pub(crate) view: u64,
}

/// What the ending said of the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// Nothing, because the call succeeded.
    Unsaid,
    No,
    Yes,
    Unknown,
}

/// The lines of all processes; those of one process in the order in which it wrote them.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) names: Names,
    pub(crate) begins: Vec<Begin>,
    pub(crate) ends: Vec<End>,
    pub(crate) runs: Vec<Ran>,
}

impl Ledger {
    /// Adds the lines of one process.
    pub(crate) fn read(&mut self, lines: impl BufRead) -> Result<(), String> {
        for line in lines.lines() {
            let line = line.map_err(|error| error.to_string())?;
            self.add(&line).ok_or_else(|| format!("no line of a ledger: {line:?}"))?;
        }
        Ok(())
    }

    fn add(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let call = self.call_id(words.next()?)?;
        let number = |words: &mut std::str::Split<'_, char>| words.next()?.parse::<u64>().ok();
        match kind {
            "begin" => {
                let one_way = words.next()? == "notify";
                let timeout = number(&mut words)?;
                let size = number(&mut words)?;
                let (at, view) = (number(&mut words)?, number(&mut words)?);
                self.begins.push(Begin { call, one_way, timeout, size, at, view });
            }
            "end" => {
                let outcome = self.names.intern(words.next()?);
                let delivered = match words.next()? {
                    "-" => Delivered::Unsaid,
                    "no" => Delivered::No,
                    "yes" => Delivered::Yes,
                    "unknown" => Delivered::Unknown,
                    _ => return None,
                };
                let (at, _view) = (number(&mut words)?, number(&mut words)?);
                let reply = words.next()?.into();
                self.ends.push(End { call, outcome, delivered, at, reply });
            }
            "ran" => {
                let actor = self.names.intern(words.next()?);
                let on = format!("{}:{}", words.next()?, words.next()?);
                let on = self.names.intern(&on);
                let (at, view) = (number(&mut words)?, number(&mut words)?);
                self.runs.push(Ran { call, actor, on, at, view });
            }
            _ => return None,
        }
        words.next().is_none().then_some(())
    }

    fn call_id(&mut self, text: &str) -> Option<CallId> {
        let mut parts = text.rsplitn(3, ':');
        let number = parts.next()?.parse().ok()?;
        let actor = self.names.intern(parts.next()?);
        let caller = self.names.intern(parts.next()?);
        Some(CallId { caller, actor, number })
    }

    /// A call as it stands in the ledgers.
    pub(crate) fn shown(&self, call: CallId) -> String {
        format!("{}:{}:{}", self.names.text(call.caller), self.names.text(call.actor), call.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_others_are_refused() {
        let mut ledger = Ledger::default();
        let lines = "begin c-1:0:a7:42 notify 2000 64 10 3\n\
                     end c-1:0:a7:42 TIMEOUT unknown 2010 4 -\n\
                     ran c-1:0:a7:42 a7 rust-1 2 15 1\n";
        ledger.read(lines.as_bytes()).expect("all of them are lines of a ledger");
        assert_eq!((ledger.begins.len(), ledger.ends.len(), ledger.runs.len()), (1, 1, 1));
        assert_eq!(ledger.shown(ledger.runs[0].call), "c-1:0:a7:42");
        assert_eq!(ledger.names.text(ledger.runs[0].on), "rust-1:2");
        assert_eq!(ledger.names.text(ledger.ends[0].outcome), "TIMEOUT");
        assert!(ledger.begins[0].one_way && ledger.begins[0].call == ledger.ends[0].call);
        for bad in ["ran c-1:0:a7:42 a7", "end c-1:0:a7:42 ok maybe 1 1 -", "began", "ran c:a:x a s 0 1 1"] {
            assert!(ledger.read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
