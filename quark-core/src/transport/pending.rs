//! The table of calls that wait for their one ending. Pure: no clock, no lock, no I/O of its own.
//!
//! A call's slot in the table is written into its message id, so that a response finds it without a search. Deadlines
//! hang in a wheel of one-millisecond buckets: O(1) to add and to remove, and nothing to do until one is due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::abandoned::OnAbandoned;
use super::outbox::{Outbox, Place, Taken};
use crate::envelope::Text;
use crate::error::{Error, Result};
use crate::id::SiloId;
use crate::parcel::Parcel;

/// Who is told of a call's ending.
pub(crate) enum Completion {
    /// A future waits.
    Future(oneshot::Sender<Result<Parcel>>),
    /// A function is called, on whatever thread ends the call; it must not block.
    Callback(Box<dyn FnOnce(Result<Bytes>) + Send>),
    /// The same, one for many calls.
    Shared(Told),
}

impl Completion {
    pub(crate) fn complete(self, result: Result<Parcel>) {
        match self {
            // The receiver is gone when the caller gave up.
            Self::Future(sender) => drop(sender.send(result)),
            Self::Callback(call) => call(result.and_then(Parcel::into_result)),
            Self::Shared(told) => told.tell(result.and_then(Parcel::into_result)),
        }
    }
}

/// Hears of the endings of calls that were made at once, of each exactly once, on whatever thread it comes. Must neither block
/// nor panic. Functions are such, too.
pub trait Endings: Send + Sync {
    /// The call that was made with this key has ended.
    fn ended(self: Arc<Self>, key: usize, result: Result<Bytes>);
}

impl<F: Fn(usize, Result<Bytes>) + Send + Sync> Endings for F {
    fn ended(self: Arc<Self>, key: usize, result: Result<Bytes>) {
        self(key, result);
    }
}

/// Who is told of one of them. Dropped before, it is `NOT_RUNNING`.
pub(crate) struct Told {
    endings: Option<Arc<dyn Endings>>,
    key: usize,
}

impl Told {
    pub(crate) fn new(endings: Arc<dyn Endings>, key: usize) -> Self {
        Self { endings: Some(endings), key }
    }

    fn tell(mut self, result: Result<Bytes>) {
        if let Some(endings) = self.endings.take() {
            endings.ended(self.key, result);
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(endings) = self.endings.take() {
            endings.ended(self.key, Err(super::not_running()));
        }
    }
}

/// A call's place in the table; stale ones find nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    slot: u32,
    generation: u32,
}

impl Ticket {
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.slot) << 32 | u64::from(self.generation)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        Self { slot: (bits >> 32) as u32, generation: (bits & 0xFFFF_FFFF) as u32 }
    }
}

/// Where a call's request was put.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) place: Place,
}

/// A call taken out of the table.
pub(crate) struct Ended {
    pub(crate) ticket: Ticket,
    pub(crate) completion: Completion,
    /// None for a call of the silo to itself.
    pub(crate) route: Option<Route>,
    /// What few have.
    rare: Option<Box<Rare>>,
}

#[derive(Default)]
struct Rare {
    /// The sender's own message id, if it chose one.
    name: Option<Box<str>>,
    /// Who wants to hear that the caller gave up: the own handler of a call of the silo to itself.
    watchers: Vec<OnAbandoned>,
}

impl Ended {
    /// The sender's own message id, if it chose one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.rare.as_ref()?.name.as_deref()
    }

    /// Lets somebody hear that the caller gave up.
    pub(crate) fn watch(&mut self, then: OnAbandoned) {
        self.rare.get_or_insert_default().watchers.push(then);
    }

    /// Those who want to hear that; only once.
    pub(crate) fn take_watchers(&mut self) -> Vec<OnAbandoned> {
        self.rare.as_mut().map(|rare| std::mem::take(&mut rare.watchers)).unwrap_or_default()
    }
}

struct Entry {
    ended: Ended,
    tick: u64,
    previous: u32,
    next: u32,
}

struct Slot {
    generation: u32,
    entry: Option<Entry>,
}

const BUCKETS: usize = 1 << 16;
/// "No slot" in the lists of the wheel. Heads are stored plus one, so that an empty wheel is all zeros and costs no
/// memory until it is used.
const NONE: u32 = u32::MAX;

/// A number of 64 bits in so many characters: two of them fit into a [`Text`] without memory of its own.
const DIGITS: usize = 11;
type Digits = [u8; DIGITS];

/// Of six bits each.
const ALPHABET: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-";

/// The value of each character; of others more than six bits.
const VALUES: [u8; 256] = {
    let mut values = [u8::MAX; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};

fn digits(number: u64) -> Digits {
    std::array::from_fn(|place| ALPHABET[(number >> (6 * place) & 63) as usize])
}

/// The number that these characters are, if they are one.
fn number(digits: &[u8]) -> Option<u64> {
    let digits: &Digits = digits.try_into().ok()?;
    let mut number = 0;
    for (place, digit) in digits.iter().enumerate() {
        let value = u64::from(VALUES[usize::from(*digit)]);
        // The last one has the four bits that are left.
        if value > if place == DIGITS - 1 { 15 } else { 63 } {
            return None;
        }
        number |= value << (6 * place);
    }
    Some(number)
}

/// The table.
pub(crate) struct Pending {
    prefix: Digits,
    epoch: Instant,
    slots: Vec<Slot>,
    free: Vec<u32>,
    named: HashMap<Box<str>, Ticket>,
    heads: Vec<u32>,
    occupied: Vec<u64>,
    /// Every deadline up to this tick has been looked at.
    swept: u64,
    len: usize,
}

impl Pending {
    /// An empty table; message ids start with `prefix`, which no other sender uses.
    pub(crate) fn new(prefix: u64, epoch: Instant) -> Self {
        Self {
            prefix: digits(prefix),
            epoch,
            slots: Vec::new(),
            free: Vec::new(),
            named: HashMap::new(),
            heads: vec![0; BUCKETS],
            occupied: vec![0; BUCKETS / 64],
            swept: 0,
            len: 0,
        }
    }

    /// How many calls wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a call that ends by `deadline` at the latest.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when another call in flight has the same `name`; the completion comes back.
    pub(crate) fn insert(
        &mut self,
        deadline: Instant,
        name: Option<&str>,
        route: Option<Route>,
        completion: Completion,
    ) -> Result<Ticket, (Error, Completion)> {
        if let Some(name) = name
            && self.named.contains_key(name)
        {
            return Err((
                Error::invalid("message_id", name, "is that of another call in flight"),
                completion,
            ));
        }
        let tick = self.tick_after(deadline).max(self.swept + 1);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, entry: None });
            u32::try_from(self.slots.len() - 1).expect("the capacity is below 2^32")
        });
        let ticket = Ticket { slot, generation: self.slots[slot as usize].generation };
        let rare = name.map(|name| {
            self.named.insert(name.into(), ticket);
            Box::new(Rare { name: Some(name.into()), watchers: Vec::new() })
        });
        let head = std::mem::replace(&mut self.heads[bucket(tick)], slot + 1);
        let next = if head == 0 { NONE } else { head - 1 };
        if next != NONE {
            self.entry_mut(next).previous = slot;
        }
        self.occupied[bucket(tick) / 64] |= 1 << (bucket(tick) % 64);
        self.slots[slot as usize].entry =
            Some(Entry { ended: Ended { ticket, completion, route, rare }, tick, previous: NONE, next });
        self.len += 1;
        Ok(ticket)
    }

    /// The message id of a call that did not choose one.
    pub(crate) fn message_id(&self, ticket: Ticket) -> Text {
        let mut id = [0; 2 * DIGITS];
        id[..DIGITS].copy_from_slice(&self.prefix);
        id[DIGITS..].copy_from_slice(&digits(ticket.to_bits()));
        Text::from_utf8(id).expect("digits are ASCII")
    }

    /// The call with this message id, if it still waits.
    pub(crate) fn find(&self, message_id: &str) -> Option<Ticket> {
        let digits = message_id.as_bytes().strip_prefix(&self.prefix);
        match digits.and_then(number) {
            Some(bits) => Some(Ticket::from_bits(bits)),
            None => self.named.get(message_id).copied(),
        }
    }

    /// Whether this peer is the one that was asked: message ids can be guessed, and only it may answer.
    pub(crate) fn is_asked(&self, ticket: Ticket, peer: &SiloId) -> bool {
        let slot = self.slots.get(ticket.slot as usize).filter(|slot| slot.generation == ticket.generation);
        let route = slot.and_then(|slot| slot.entry.as_ref()).and_then(|entry| entry.ended.route.as_ref());
        route.is_some_and(|route| route.outbox.peer() == peer)
    }

    /// Takes a call out; nothing when it has ended before.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Ended> {
        let slot = self.slots.get_mut(ticket.slot as usize)?;
        if slot.generation != ticket.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(ticket.slot);
        self.len -= 1;
        if entry.next != NONE {
            self.entry_mut(entry.next).previous = entry.previous;
        }
        if entry.previous != NONE {
            self.entry_mut(entry.previous).next = entry.next;
        } else if entry.next != NONE {
            self.heads[bucket(entry.tick)] = entry.next + 1;
        } else {
            self.heads[bucket(entry.tick)] = 0;
            self.occupied[bucket(entry.tick) / 64] &= !(1 << (bucket(entry.tick) % 64));
        }
        if let Some(name) = entry.ended.name() {
            self.named.remove(name);
        }
        Some(entry.ended)
    }

    /// Notes where a waiting call's request has been put instead.
    pub(crate) fn reroute(&mut self, ticket: Ticket, route: Option<Route>) -> bool {
        self.call_mut(ticket).map(|call| call.route = route).is_some()
    }

    /// A call that waits.
    pub(crate) fn call_mut(&mut self, ticket: Ticket) -> Option<&mut Ended> {
        match self.slots.get_mut(ticket.slot as usize) {
            Some(Slot { generation, entry: Some(entry) }) if *generation == ticket.generation => {
                Some(&mut entry.ended)
            }
            _ => None,
        }
    }

    /// Takes out every call whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Ended> {
        let now_tick = self.tick_before(now);
        let mut due = Vec::new();
        let span = now_tick.saturating_sub(self.swept).min(BUCKETS as u64);
        let mut tick = self.swept + 1;
        let end = self.swept + span;
        while tick <= end {
            if self.occupied[bucket(tick) / 64] == 0 {
                // Nothing in the rest of this word.
                tick = (tick / 64 + 1) * 64;
                continue;
            }
            let mut head = self.heads[bucket(tick)];
            while head != 0 {
                let slot = head - 1;
                let entry = self.entry_mut(slot);
                head = if entry.next == NONE { 0 } else { entry.next + 1 };
                if entry.tick <= now_tick {
                    due.push(Ticket { slot, generation: self.slots[slot as usize].generation });
                }
            }
            tick += 1;
        }
        self.swept = self.swept.max(now_tick);
        due.into_iter().filter_map(|ticket| self.remove(ticket)).collect()
    }

    /// When [`expire`](Self::expire) has something to do next; may be early, never late.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        if self.len == 0 {
            return None;
        }
        let first = self.swept + 1;
        let words = BUCKETS / 64;
        let (start_word, start_bit) = (bucket(first) / 64, bucket(first) % 64);
        for step in 0..=words {
            let word = (start_word + step) % words;
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << start_bit;
            }
            if bits != 0 {
                let found = word * 64 + bits.trailing_zeros() as usize;
                let distance = (found + BUCKETS - bucket(first)) % BUCKETS;
                return Some(self.epoch + Duration::from_millis(first + distance as u64));
            }
        }
        None
    }

    /// Takes out every call whose request a link took from `outbox`.
    pub(crate) fn remove_sent(&mut self, outbox: &Arc<Outbox>, taken: &Taken) -> Vec<Ended> {
        let sent = |entry: &Entry| {
            let route = entry.ended.route.as_ref();
            route.is_some_and(|route| Arc::ptr_eq(&route.outbox, outbox) && taken.contains(route.place))
        };
        self.remove_all(sent)
    }

    /// Takes out every call.
    pub(crate) fn remove_every(&mut self) -> Vec<Ended> {
        self.remove_all(|_| true)
    }

    fn remove_all(&mut self, which: impl Fn(&Entry) -> bool) -> Vec<Ended> {
        let tickets: Vec<_> = (0u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.entry.as_ref().is_some_and(&which))
            .map(|(index, slot)| Ticket { slot: index, generation: slot.generation })
            .collect();
        tickets.into_iter().filter_map(|ticket| self.remove(ticket)).collect()
    }

    fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        self.slots[slot as usize].entry.as_mut().expect("the wheel's lists hold occupied slots only")
    }

    fn tick_after(&self, instant: Instant) -> u64 {
        millis_up(instant.saturating_duration_since(self.epoch))
    }

    fn tick_before(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.epoch).as_millis()).unwrap_or(u64::MAX >> 1)
    }
}

/// Milliseconds, rounded up. (The whole of a duration in smaller units has 128 bits, which are divided slowly.)
pub(crate) fn millis_up(duration: Duration) -> u64 {
    let begun = duration.subsec_nanos().div_ceil(1_000_000);
    duration.as_secs().saturating_mul(1000).saturating_add(begun.into()).min(u64::MAX >> 1)
}

fn bucket(tick: u64) -> usize {
    (tick % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> (Pending, Instant) {
        let epoch = Instant::now();
        (Pending::new(7, epoch), epoch)
    }

    fn call() -> Completion {
        Completion::Callback(Box::new(|_| {}))
    }

    fn add(table: &mut Pending, deadline: Instant) -> Ticket {
        table.insert(deadline, None, None, call()).ok().unwrap()
    }

    #[test]
    fn a_response_finds_its_call_by_the_message_id_once() {
        let (mut table, now) = table();
        let first = add(&mut table, now + Duration::from_secs(1));
        let second = add(&mut table, now + Duration::from_secs(1));
        let id = table.message_id(first);
        assert_eq!((id.len(), id.is_heap_allocated()), (22, false));
        assert_ne!(id, table.message_id(second));
        let ticket = table.find(&id).unwrap();
        assert!(table.remove(ticket).is_some());
        assert!(table.remove(ticket).is_none(), "a second response finds nothing");
        // The slot is used again under another id.
        let third = add(&mut table, now);
        assert_ne!(table.message_id(third), id);
        assert!(table.remove(table.find(&id).unwrap()).is_none());
    }

    #[test]
    fn an_id_of_the_senders_own_works_too_but_not_twice_at_once() {
        let (mut table, now) = table();
        let ticket = table.insert(now, Some("mine"), None, call()).ok().unwrap();
        assert_eq!(table.find("mine"), Some(ticket));
        assert!(table.insert(now, Some("mine"), None, call()).is_err());
        table.remove(ticket);
        assert_eq!(table.find("mine"), None);
        assert!(table.insert(now, Some("mine"), None, call()).is_ok());
    }

    #[test]
    fn foreign_ids_find_nothing() {
        let (table, _) = table();
        for id in [
            "",
            "x",
            "70000000000",
            "700000000000000000000",
            "70000000000000000000é",
            "7000000000000000000000000",
        ] {
            assert_eq!(table.find(id), None, "{id}");
        }
    }

    #[test]
    fn a_number_is_its_digits_and_no_other_digits_are_one() {
        for bits in [0, 1, 63, 64, u64::MAX, u64::MAX - 1, 0x0123_4567_89ab_cdef] {
            assert_eq!(number(&digits(bits)), Some(bits));
        }
        for no_number in
            [&b"0000000000"[..], b"000000000000", b"0000000000z", b"00000.00000", b"00000\xff00000"]
        {
            assert_eq!(number(no_number), None, "{no_number:?}");
        }
    }

    #[test]
    fn milliseconds_that_have_begun_count() {
        for (duration, millis) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_millis(7), 7),
            (Duration::new(2, 3_000_001), 2004),
            (Duration::from_nanos(999_999_999), 1000),
            (Duration::MAX, u64::MAX >> 1),
        ] {
            assert_eq!(millis_up(duration), millis, "{duration:?}");
        }
    }

    #[test]
    fn deadlines_end_calls_when_they_pass_and_not_before() {
        let (mut table, epoch) = table();
        let at = |ms| epoch + Duration::from_millis(ms);
        for ms in [5, 5, 30_000, 65_536 + 5, 200_000] {
            add(&mut table, at(ms));
        }
        assert_eq!(table.next_due(), Some(at(5)));
        assert_eq!(table.expire(at(4)).len(), 0);
        assert_eq!(table.expire(at(5)).len(), 2);
        assert_eq!(table.expire(at(29_999)).len(), 0);
        assert_eq!(table.expire(at(30_000)).len(), 1);
        assert_eq!(table.expire(at(65_541)).len(), 1);
        assert_eq!(table.expire(at(199_999)).len(), 0);
        assert_eq!(table.len(), 1);
        assert_eq!(table.expire(at(500_000)).len(), 1);
        assert_eq!((table.len(), table.next_due()), (0, None));
    }

    #[test]
    fn any_order_of_adding_and_removing_keeps_the_wheel_whole() {
        let (mut table, epoch) = table();
        let mut tickets: Vec<_> =
            (0..1000u64).map(|i| add(&mut table, epoch + Duration::from_millis(i * 7919 % 50 + 1))).collect();
        for i in (0..tickets.len()).rev().step_by(3) {
            assert!(table.remove(tickets.swap_remove(i)).is_some());
        }
        let rest = tickets.len();
        assert_eq!(table.expire(epoch + Duration::from_secs(1)).len(), rest);
        assert!(table.heads.iter().all(|head| *head == 0) && table.occupied.iter().all(|word| *word == 0));
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_once() {
        let (mut table, epoch) = table();
        table.expire(epoch + Duration::from_secs(10));
        add(&mut table, epoch);
        assert_eq!(table.expire(epoch + Duration::from_millis(10_001)).len(), 1);
    }
}
