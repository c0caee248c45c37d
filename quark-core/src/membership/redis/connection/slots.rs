//! Which node of a Redis Cluster holds which keys. Pure.

use std::collections::HashMap;

use ::redis::Value;

use crate::endpoint::Endpoint;

/// Into how many slots the keys fall.
const SLOTS: u16 = 16_384;

/// The slots and their nodes.
pub(super) struct Slots {
    /// First, last, and who holds them.
    ranges: Vec<(u16, u16, Endpoint)>,
    /// What was heard since.
    moved: HashMap<u16, Endpoint>,
}

impl Slots {
    /// Reads the answer to CLUSTER SLOTS: of each range its bounds, then its primary, then the replicas.
    pub(super) fn read(ranges: Vec<Vec<Value>>, asked: &Endpoint) -> Self {
        let read = |range: Vec<Value>| {
            let mut parts = range.into_iter();
            let first = ::redis::from_redis_value(parts.next()?).ok()?;
            let last = ::redis::from_redis_value(parts.next()?).ok()?;
            let primary: Vec<Value> = ::redis::from_redis_value(parts.next()?).ok()?;
            let mut parts = primary.into_iter();
            let host: Option<String> = ::redis::from_redis_value(parts.next()?).ok()?;
            let port = ::redis::from_redis_value(parts.next()?).ok()?;
            // A node that was not told its name is where it was asked.
            let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| asked.host().to_owned());
            Some((first, last, Endpoint::new(&host, port).ok()?))
        };
        Self { ranges: ranges.into_iter().filter_map(read).collect(), moved: HashMap::new() }
    }

    pub(super) fn owner(&self, slot: u16) -> Option<&Endpoint> {
        let range = || self.ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
        self.moved.get(&slot).or_else(|| range().map(|(.., node)| node))
    }

    pub(super) fn moved(&mut self, slot: u16, node: Endpoint) {
        self.moved.insert(slot, node);
    }

    /// All nodes that hold keys, each once.
    pub(super) fn primaries(&self) -> Vec<Endpoint> {
        let mut primaries: Vec<_> = self.ranges.iter().map(|(.., node)| node.clone()).collect();
        primaries.sort();
        primaries.dedup();
        primaries
    }
}

/// The slot of a key: what is between its first braces counts, if there is something, or all of it.
pub(super) fn slot_of(key: &[u8]) -> u16 {
    let position = |bytes: &[u8], wanted| bytes.iter().position(|byte| *byte == wanted);
    let tag = position(key, b'{').and_then(|open| {
        let rest = &key[open + 1..];
        position(rest, b'}').filter(|length| *length > 0).map(|length| &rest[..length])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// The one of XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    let shift = |crc: u16| (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 };
    bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| shift(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fall_into_the_slots_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        for (key, slot) in [("foo", 12_182), ("baz", 4_813), ("", 0)] {
            assert_eq!(slot_of(key.as_bytes()), slot, "{key}");
        }
        for (key, like) in [("x{foo}y", "foo"), ("{foo}{baz}", "foo"), ("foo{{baz}}y", "{baz")] {
            assert_eq!(slot_of(key.as_bytes()), slot_of(like.as_bytes()), "{key}");
        }
        assert_ne!(slot_of(b"foo{}{bar}"), slot_of(b"bar"), "nothing between braces is no tag");
        assert_ne!(slot_of(b"foo{bar"), slot_of(b"bar"));
    }

    #[test]
    fn the_map_is_read_and_follows_what_moved() {
        let node = |host: &str, port| {
            Value::Array(vec![Value::BulkString(host.as_bytes().to_vec()), Value::Int(port), Value::Nil])
        };
        let range = |first, last, node| vec![Value::Int(first), Value::Int(last), node];
        let ranges = vec![
            range(0, 99, node("a", 1)),
            range(100, 199, node("", 2)),
            range(300, 300, node("a", 1)),
            vec![],
        ];
        let mut slots = Slots::read(ranges, &"asked:9".parse().unwrap());
        let owner = |slots: &Slots, slot| slots.owner(slot).map(ToString::to_string);
        assert_eq!(owner(&slots, 99).as_deref(), Some("a:1"));
        assert_eq!(owner(&slots, 100).as_deref(), Some("asked:2"));
        assert_eq!(owner(&slots, 200), None);
        assert_eq!(slots.primaries().len(), 2);
        slots.moved(99, "b:3".parse().unwrap());
        assert_eq!(owner(&slots, 99).as_deref(), Some("b:3"));
        assert_eq!(owner(&slots, 98).as_deref(), Some("a:1"));
    }
}
