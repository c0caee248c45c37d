//! What must not be torn apart: scripts of one key each.

/// Writes a row unless a later life stands there, or the same one at another endpoint; returns what stood in the way, or
/// whether this life stood there before. A row that cannot be understood stands in nobody's way.
pub(super) const WRITE_ROW: &str = "
local row, again = redis.pcall('GET', KEYS[1]), 0
if type(row) == 'string' then
    local readable, info = pcall(cjson.decode, row)
    if readable and type(info) == 'table' then
        local other, mine = tonumber(info.incarnation) or 0, tonumber(ARGV[2])
        local elsewhere = info.address ~= ARGV[3] or tonumber(info.port) ~= tonumber(ARGV[4])
        if other > mine or (other == mine and elsewhere) then return row end
        if other == mine then again = 1 end
    end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[5])
return again";

/// Writes a row if it is as it was seen; an empty text is no row.
pub(super) const CLAIM_ROW: &str = "
local row = redis.pcall('GET', KEYS[1])
if type(row) ~= 'string' then row = '' end
if row ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

/// Deletes a row if it is as it was seen.
pub(super) const DELETE_ROW: &str = "
if redis.pcall('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

/// Raises a number, never lowers it; returns whether it was lower.
pub(super) const RAISE: &str = "
local now = tonumber(redis.call('GET', KEYS[1])) or 0
if now >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1";

/// Notes a vote and counts those of late: one that was not given again is none, whoever else votes.
pub(super) const VOTE: &str = "
local time = redis.call('TIME')
local now, ttl = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ttl)
redis.call('PEXPIRE', KEYS[1], ttl)
return redis.call('ZCARD', KEYS[1])";
