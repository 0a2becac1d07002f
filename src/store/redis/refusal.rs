//! The meaning of the server's errors. No text of the server is passed on: it could repeat what the
//! client sent.

use redis::RedisError;

use super::RedisStore;
use crate::store::StoreError;

/// The code by which the scripts name the command that failed in them.
pub(super) const IN_SCRIPT: &str = "REFUSED";

/// Returns the error of the store for an error of the client crate.
pub(super) fn classify(error: &RedisError) -> StoreError {
    match error.code() {
        Some(code) => of_server(code, error.detail().unwrap_or_default()),
        None if error.is_timeout() => StoreError::unavailable("the server did not respond in time"),
        None if error.is_io_error() => StoreError::unavailable("the connection was lost"),
        None => StoreError::unusable("the server does not speak RESP3 as Redis 7 does"),
    }
}

/// Returns the meaning of an error by its code, which is the first word, and the rest of its text.
pub(super) fn of_server(code: &str, text: &str) -> StoreError {
    match code {
        IN_SCRIPT => {
            let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
            let (code, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            in_script(command, code, rest)
        }
        "NOPERM" => denied(right(None, text)),
        "WRONGPASS" | "NOAUTH" => StoreError::denied(
            "the server does not accept the user and the password of the URL, or asks for them",
        ),
        "DENIED" => StoreError::denied(
            "the server is in protected mode, which refuses other machines; give it a user and a \
             password",
        ),
        "LOADING" => StoreError::unavailable("the server is loading its data"),
        "OOM" => StoreError::unavailable("the server has reached `maxmemory`"),
        "READONLY" => StoreError::unavailable("the server is a replica; the primary is needed"),
        "MASTERDOWN" => StoreError::unavailable("the server is a replica without its primary"),
        "MISCONF" => StoreError::unavailable("the server can't save its data, so takes no writes"),
        "NOREPLICAS" => StoreError::unavailable("the server has fewer replicas than it requires"),
        "BUSY" => StoreError::unavailable("the server is busy with somebody's script"),
        "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "CROSSSLOT" => StoreError::unusable(
            "the server is a node of a cluster; give a single primary, or sentinels",
        ),
        "WRONGTYPE" => StoreError::unusable(
            "a key that begins with `tower-reauth:` holds something else than this store's hash",
        ),
        "NOPROTO" => too_old(),
        "ERR"
            if ["unknown command", "Unknown", "compiling script"]
                .iter()
                .any(|old| text.contains(old)) =>
        {
            too_old()
        }
        "ERR" if text.contains("max number of clients") => {
            StoreError::unavailable("the server has reached `maxclients`")
        }
        _ => StoreError::unavailable(format!("the server responds with the error {}", shown(code))),
    }
}

/// Returns the meaning of an error of `command` inside a script. Redis before 7.2 does not say
/// which command a user may not run there.
fn in_script(command: &str, code: &str, text: &str) -> StoreError {
    let of_acl = ["The user executing the script can't", "ACL failure in script"];
    if code == "NOPERM" || of_acl.iter().any(|start| text.starts_with(start)) {
        return denied(right(Some(command), text));
    }
    of_server(code, text)
}

/// Returns the right that the text of a refusal asks for, as an ACL writes it.
fn right(command: Option<&str>, text: &str) -> Option<&'static str> {
    // The name of the user comes before these words, and may be any.
    let after = |words| text.rfind(words).map(|at| &text[at + str::len(words)..]);
    let what = after("permissions to ").or_else(|| after("can't ")).unwrap_or(text);
    let command = match what.strip_prefix("run the '").and_then(|name| name.split('\'').next()) {
        None if what.starts_with("run this command") => command,
        None if what.contains("channel") => return Some(RedisStore::CHANNELS),
        None if what.contains("key") => return Some(RedisStore::KEYS),
        named => named,
    }?;
    RedisStore::ACL.split(' ').find(|right| right.strip_prefix('+') == Some(command))
}

fn denied(right: Option<&'static str>) -> StoreError {
    let right = right.map_or("a right".to_owned(), |right| format!("the right `{right}`"));
    let acl = RedisStore::ACL;
    StoreError::denied(format!("the user lacks {right}; the rules of its ACL are to be `{acl}`"))
}

fn too_old() -> StoreError {
    StoreError::unusable("the server lacks a command; Redis 7 or later, or Valkey, is needed")
}

/// Returns `code` if it looks like one.
fn shown(code: &str) -> &str {
    let is_code = code.len() <= 20 && code.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_code { code } else { "of an unknown kind" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_named_whatever_the_version_and_the_user_is_called() {
        for (code, text, right) in [
            ("NOPERM", "this user has no permissions to run the 'evalsha' command", "`+evalsha`"),
            (
                "NOPERM",
                "User key has no permissions to run the 'script|load' command",
                "`+script|load`",
            ),
            (
                "NOPERM",
                "this user has no permissions to access one of the keys used as arguments",
                "`~tower-reauth:*`",
            ),
            (
                "NOPERM",
                "this user has no permissions to access one of the channels used as arguments",
                "`&tower-reauth:*`",
            ),
            ("NOPERM", "No permissions to access a key", "`~tower-reauth:*`"),
            (
                "NOPERM",
                "User channel has no permissions to access the 'x' key",
                "`~tower-reauth:*`",
            ),
            ("NOPERM", "No permissions to access a channel", "`&tower-reauth:*`"),
            (
                "REFUSED",
                "hget ERR The user executing the script can't run this command or subcommand \
                 script: 9, on @user_script:2.",
                "`+hget`",
            ),
            (
                "REFUSED",
                "publish ERR The user executing the script can't publish to the channel \
                 mentioned in the command script: 1",
                "`&tower-reauth:*`",
            ),
            (
                "REFUSED",
                "hset ERR ACL failure in script: User channel has no permissions to run the \
                 'hset' command script: on",
                "`+hset`",
            ),
            (
                "REFUSED",
                "publish ERR ACL failure in script: No permissions to access a channel script: on",
                "`&tower-reauth:*`",
            ),
            ("NOPERM", "hunter2", "lacks a right;"),
            ("NOPERM", "User x has no permissions to run the 'hunter2' command", "lacks a right;"),
        ] {
            let error = of_server(code, text);
            assert!(error.is_denied());
            let shown = error.to_string();
            assert!(shown.contains(right) && shown.contains(RedisStore::ACL), "{text}: {shown}");
            assert!(!shown.contains("hunter2"));
        }
    }

    #[test]
    fn what_passes_by_itself_is_transient_and_what_does_not_is_not() {
        let transient = [
            ("LOADING", "Redis is loading the dataset in memory"),
            ("OOM", "command not allowed when used memory > 'maxmemory'."),
            ("READONLY", "You can't write against a read only replica."),
            ("MASTERDOWN", "Link with MASTER is down"),
            ("ERR", "max number of clients reached"),
            ("REFUSED", "hset OOM command not allowed when used memory > 'maxmemory'."),
            ("hunter2", "hunter2"),
        ];
        let lasting = [
            ("WRONGTYPE", "Operation against a key"),
            ("REFUSED", "hget WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("ERR", "unknown command 'HELLO', with args beginning with: 'hunter2'"),
            ("ERR", "Error compiling script (new function): user_script:1: unexpected symbol"),
            ("MOVED", "1 10.0.0.1:6379"),
        ];
        let errors = |of: &[(&str, &str)]| {
            of.iter().map(|(code, text)| of_server(code, text)).collect::<Vec<_>>()
        };
        for error in errors(&transient) {
            assert!(error.is_transient(), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for error in errors(&lasting) {
            assert!(!error.is_transient() && !error.is_denied(), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        for code in ["WRONGPASS", "NOAUTH", "DENIED"] {
            assert!(of_server(code, "hunter2").is_denied());
        }
    }
}
