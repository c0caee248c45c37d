//! Fuzz targets of Redis: what is said on the channels, and what servers answer.

use ::redis::{RedisError, Value};

pub(crate) use super::connection::fuzzing::read_slots_and_redirects;
use super::listener::News;
use super::refusal::Refusal;
use crate::id::SiloId;

/// What is said on the channels, a line for each message.
pub(crate) fn redis_channels(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut news = News::default();
    text.split('\n').for_each(|payload| news.add(payload));
    for line in text.split('\n').take(1_000) {
        let fields: Vec<_> = line.splitn(3, ':').collect();
        if let ["suspect", life, id] = fields[..]
            && let (Ok(life), Ok(id)) = (life.parse(), SiloId::new(id))
        {
            assert!(news.suspected.contains(&(id, life)), "{line}");
        }
    }
    let mut again = News::default();
    news.joined.iter().for_each(|id| again.add(&format!("join:{id}")));
    news.left.iter().for_each(|id| again.add(&format!("leave:{id}")));
    news.suspected.iter().for_each(|(id, life)| again.add(&format!("suspect:{life}:{id}")));
    assert!(again.joined == news.joined && again.left == news.left && again.suspected == news.suspected);
    assert!([news.joined.len(), news.left.len(), news.suspected.len()].iter().all(|count| *count <= 1_024));
}

/// An answer as it comes from the connection: to CLUSTER SLOTS, or an error, which may say where to go.
pub(crate) fn redis_answers(bytes: &[u8]) {
    let Ok(value) = ::redis::parse_redis_value(bytes) else { return };
    read_slots_and_redirects(&value);
    if let Value::ServerError(error) = value {
        let refusal = Refusal::from(RedisError::from(error));
        let _ = (refusal.is_final(), refusal.lacks_rights(), refusal.is_broken_connection());
        assert!(!refusal.to_string().is_empty());
    }
}
