//! The two scripts, their arguments and their replies.
//!
//! Time and notice must be one step with the change, which no single command offers. Each script
//! begins with `#!lua` and not with `no-writes`, so a replica refuses both: what it has may be old.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use redis::{Script, Value, aio::MultiplexedConnection};

use super::refusal;
use crate::store::{Name, StoreError, Swap, Versioned};

/// How long a value is kept after its last change, at least.
const EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);

/// Calls a command, and names it in the error if it fails.
macro_rules! call {
    () => {
        r"
local function call(command, ...)
    local reply = redis.pcall(command, ...)
    if type(reply) == 'table' and reply.err then
        error({err = 'REFUSED ' .. command .. ' ' .. reply.err})
    end
    return reply
end

-- A change is dated down and an age is rounded up to milliseconds.
local function now(round)
    local time = call('time')
    return time[1] * 1000 + round(time[2] / 1000)
end

local function read()
    local found = call('hmget', KEYS[1], 'r', 'v', 't')
    if not (found[1] and found[2] and found[3]) then return {} end
    return {found[1], found[2], now(math.ceil) - found[3]}
end
"
    };
}

/// `KEYS[1]`: the key. Responds with revision, value and age, or with nothing.
///
/// Under `maxmemory` a value can still be read.
static GET: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!("#!lua flags=allow-oom\n", call!(), "\nreturn read()\n")));

/// `KEYS[1]`: the key, and the channel. `ARGV`: old revision, new revision, value, expiry.
///
/// Responds with 1 if the value was changed, else as the other script.
static COMPARE_AND_SET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        "#!lua\n",
        call!(),
        r"
if (call('hget', KEYS[1], 'r') or '0') ~= ARGV[1] then return read() end
local changed = string.format('%.0f', now(math.floor))
call('hset', KEYS[1], 'r', ARGV[2], 'v', ARGV[3], 't', changed)
call('pexpire', KEYS[1], ARGV[4])
call('publish', KEYS[1], ARGV[2] .. ' ' .. ARGV[3])
return 1
"
    ))
});

const PREFIX: &str = "tower-reauth:{";
const SUFFIX: &str = "}";

/// Returns the key of the value under `name`, and the channel of its changes.
///
/// By its braces a cluster would keep both in one place.
pub(super) fn key(name: &Name) -> String {
    format!("{PREFIX}{name}{SUFFIX}")
}

/// Returns the name whose changes `channel` tells.
pub(super) fn name(channel: &[u8]) -> Option<Name> {
    let channel = str::from_utf8(channel).ok()?;
    Name::new(channel.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?)
}

/// Splits what is published into revision and value.
pub(super) fn published(payload: &[u8]) -> Option<(u64, Bytes)> {
    let space = payload.iter().position(|byte| *byte == b' ')?;
    let revision = str::from_utf8(&payload[..space]).ok()?.parse().ok()?;
    Some((revision, Bytes::copy_from_slice(&payload[space + 1..])))
}

pub(super) async fn get(
    connection: &mut MultiplexedConnection,
    name: &Name,
) -> Result<Option<Versioned>, StoreError> {
    let reply = GET.key(key(name)).invoke_async(connection).await;
    found(reply.map_err(|error| refusal::classify(&error))?)
}

pub(super) async fn compare_and_set(
    connection: &mut MultiplexedConnection,
    name: &Name,
    (old, new): (u64, u64),
    value: &[u8],
    keep: Duration,
) -> Result<Swap, StoreError> {
    let expiry = u64::try_from(keep.max(EXPIRY).as_millis()).unwrap_or(u64::MAX);
    // The server refuses an expiry that it can't add to its clock.
    let expiry = expiry.min(1 << 52);
    let mut call = COMPARE_AND_SET.key(key(name));
    call.arg(old).arg(new).arg(value).arg(expiry);
    let reply = call.invoke_async(connection).await;
    match reply.map_err(|error| refusal::classify(&error))? {
        Value::Int(1) => Ok(Swap::Done),
        reply => Ok(Swap::Conflict(found(reply)?)),
    }
}

/// Reads what the scripts respond with.
fn found(reply: Value) -> Result<Option<Versioned>, StoreError> {
    let unreadable = || StoreError::unusable("a key that begins with `tower-reauth:` is not ours");
    let Value::Array(parts) = reply else { return Err(unreadable()) };
    if parts.is_empty() {
        return Ok(None);
    }
    let Ok([Value::BulkString(revision), Value::BulkString(value), Value::Int(age)]) =
        <[Value; 3]>::try_from(parts)
    else {
        return Err(unreadable());
    };
    let revision = str::from_utf8(&revision).ok().and_then(|revision| revision.parse().ok());
    let revision = revision.ok_or_else(unreadable)?;
    // A clock that was set back tells no age. No value is older than its expiry.
    let age = u64::try_from(age).map_or(EXPIRY, Duration::from_millis);
    Ok(Some(Versioned { revision, value: value.into(), age }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(revision: &str, age: i64) -> Value {
        let text = |text: &str| Value::BulkString(text.into());
        Value::Array(vec![text(revision), text("value"), Value::Int(age)])
    }

    #[test]
    fn an_age_is_never_less_than_the_truth() {
        let age = |age| found(reply("7", age)).unwrap().unwrap().age;
        assert_eq!(age(50), Duration::from_millis(50));
        // The server's clock was set back: a lease that never aged would never end.
        assert_eq!(age(-1), EXPIRY);
    }

    #[test]
    fn what_is_not_this_stores_is_a_lasting_error() {
        for reply in [reply("x", 0), Value::Nil, Value::Array(vec![Value::Nil])] {
            let error = found(reply).unwrap_err();
            assert!(!error.is_transient() && !error.is_denied());
        }
        assert_eq!(found(Value::Array(vec![])).unwrap(), None);
    }

    #[test]
    fn a_notice_is_read_back() {
        let payments = Name::new("payments").unwrap();
        assert_eq!(name(key(&payments).as_bytes()), Some(payments));
        assert_eq!(name(b"tower-reauth:payments"), None);
        assert_eq!(published(b"12 a b"), Some((12, Bytes::from_static(b"a b"))));
        assert_eq!(published(b"12 "), Some((12, Bytes::new())));
        for payload in [&b"12"[..], b"x a", b"", b" a"] {
            assert_eq!(published(payload), None);
        }
    }
}
