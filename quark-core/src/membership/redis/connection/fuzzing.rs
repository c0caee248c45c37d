//! What the nodes of a cluster say about each other, for the fuzz target.

use ::redis::Value;

use super::cluster::redirect;
use super::slots::Slots;
use crate::endpoint::Endpoint;

/// Reads an answer as the map of the slots, or as the word that a key is elsewhere.
pub(crate) fn read_slots_and_redirects(value: &Value) {
    let asked: Endpoint = "asked:1".parse().unwrap();
    if let Value::ServerError(error) = value
        && let Some(redirect) = redirect(error, &asked)
    {
        assert_eq!(redirect.node.to_string().parse::<Endpoint>().unwrap(), redirect.node);
    }
    let Ok(ranges) = ::redis::from_redis_value::<Vec<Vec<Value>>>(value.clone()) else { return };
    let slots = Slots::read(ranges, &asked);
    let primaries = slots.primaries();
    for slot in [0, 1, 16_383, u16::MAX] {
        assert!(slots.owner(slot).is_none_or(|owner| primaries.contains(owner)));
    }
}
