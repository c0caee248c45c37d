//! Frames that cost the peer nothing and us an answer: pings, settings, streams opened and reset. h2 answers as many as come;
//! here a connection with more of them than any honest peer sends is found out.

use std::io;

use tokio::time::Instant;

/// Such frames that may come at once.
const BURST: f64 = 1_000.0;
/// Such frames that may come in a second for as long as one likes. An honest peer sends a ping in some seconds, and two
/// frames for each stream.
const PER_SECOND: f64 = 200.0;

/// What a client of HTTP/2 sends first.
const PREFACE: usize = 24;
/// Length, type, flags and stream of a frame.
const HEADER: usize = 9;

const DATA: u8 = 0;
const WINDOW_UPDATE: u8 = 8;

/// Looks at the frames that come in on one connection.
pub(super) struct Frames {
    /// Bytes to come that are no header of a frame.
    skip: usize,
    header: [u8; HEADER],
    /// How much of the header has come.
    have: usize,
    tokens: f64,
    filled: Instant,
}

impl Frames {
    pub(super) fn new(now: Instant) -> Self {
        Self { skip: PREFACE, header: [0; HEADER], have: 0, tokens: BURST, filled: now }
    }

    /// These bytes came in.
    ///
    /// # Errors
    /// The connection floods us and is to be closed.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = bytes.len().min(HEADER - self.have);
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEADER {
                self.have = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    fn frame(&mut self) -> io::Result<()> {
        let [a, b, c, kind, ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        self.skip = length;
        // Messages, and room for answers; h2 itself minds those of no length.
        if matches!(kind, DATA | WINDOW_UPDATE) {
            return Ok(());
        }
        self.tokens -= 1.0;
        if self.tokens < 0.0 { self.refill(Instant::now()) } else { Ok(()) }
    }

    /// Only when none are left, so that no clock is read for frames that are few.
    fn refill(&mut self, now: Instant) -> io::Result<()> {
        let earned = (now - self.filled).as_secs_f64() * PER_SECOND;
        self.filled = now;
        self.tokens = (self.tokens + earned).min(BURST);
        if self.tokens < 0.0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a flood of frames without messages"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let [_, a, b, c] = u32::try_from(length).unwrap().to_be_bytes();
        let mut frame = vec![a, b, c, kind, 0, 0, 0, 0, 0];
        frame.resize(HEADER + length, PING);
        frame
    }

    fn opened() -> Frames {
        let mut frames = Frames::new(Instant::now());
        frames.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        frames
    }

    #[tokio::test(start_paused = true)]
    async fn pings_are_a_flood_beyond_their_burst_and_time_forgives() {
        let mut frames = opened();
        for _ in 0..BURST as usize {
            frames.read(&frame(PING, 8)).unwrap();
        }
        tokio::time::advance(Duration::from_millis(100)).await;
        let forgiven = (0..100).take_while(|_| frames.read(&frame(PING, 8)).is_ok()).count();
        assert_eq!(forgiven, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_of_any_size_in_pieces_of_any_size_are_none() {
        let mut frames = opened();
        let bytes = [frame(DATA, 1), frame(DATA, 16_384), frame(WINDOW_UPDATE, 4), frame(DATA, 0)].concat();
        for piece in [1, 7, 9, 10, 4_000] {
            for _ in 0..2_000 / piece {
                bytes.chunks(piece).for_each(|piece| frames.read(piece).unwrap());
            }
        }
        assert!(frames.tokens == BURST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_in_single_bytes_is_one_too() {
        let mut frames = opened();
        let flood = frame(PING, 8).repeat(BURST as usize + 1);
        assert!(flood.iter().any(|byte| frames.read(&[*byte]).is_err()));
    }
}
