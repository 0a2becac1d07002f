//! [`Server`]: a Redis URL in its parts, with the password apart from what a text may show.

use std::{fmt, path::PathBuf};

use http::uri::Authority;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::{error::ConfigError, origin};

/// The port of Redis, with TLS and without.
const PORT: u16 = 6379;

/// A server, and who logs in there.
///
/// `Debug` and `Display` show the address alone.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) address: Address,
    pub(super) tls: bool,
    pub(super) login: Option<Login>,
}

/// A name and a password by which a client logs in.
#[derive(Clone)]
pub(super) struct Login {
    /// `None` stands for the server's default user.
    pub(super) user: Option<Box<str>>,
    pub(super) password: SecretString,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Address {
    Tcp { host: Box<str>, port: u16 },
    Unix(PathBuf),
}

impl Server {
    /// Parses `url`.
    ///
    /// The parser is this crate's own, so that no copy of the password is left in a parsed URL.
    pub(super) fn parse(url: &str) -> Result<Self, ConfigError> {
        parse(url).map_err(|reason| ConfigError::InvalidUrl { url: redacted(url), reason })
    }

    /// Returns the server at `host` and `port`, with the transport and the login of this one.
    pub(super) fn at(&self, host: &str, port: u16) -> Self {
        Self { address: Address::Tcp { host: host.into(), port }, ..self.clone() }
    }

    /// Returns `true` if a password sent to this server would cross a network in plain text.
    pub(super) fn is_exposed(&self) -> bool {
        match &self.address {
            Address::Tcp { host, .. } => !self.tls && !origin::is_loopback(host),
            Address::Unix(_) => false,
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp { host, port } => {
                let scheme = if self.tls { "rediss" } else { "redis" };
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                write!(f, "{scheme}://{open}{host}{close}:{port}")
            }
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn parse(url: &str) -> Result<Server, &'static str> {
    let (scheme, rest) =
        url.split_once("://").ok_or("it has no scheme; give one such as rediss://host:6379")?;
    if rest.contains(['?', '#']) {
        return Err(
            "it has a query or a fragment; encode such a character of a password in percent",
        );
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (info, place) = match authority.rsplit_once('@') {
        Some((info, place)) => (Some(info), place),
        None => (None, authority),
    };
    let login = info.map(login).transpose()?;
    let (address, tls) = match scheme {
        "rediss" | "valkeys" => (tcp(place, path)?, true),
        "redis" | "valkey" => (tcp(place, path)?, false),
        "unix" if cfg!(unix) && place.is_empty() && path.len() > 1 => {
            (Address::Unix(path.into()), false)
        }
        "unix" if cfg!(unix) => return Err("it has no path; give one such as unix:///run/redis"),
        _ => return Err("its scheme is not one of rediss, redis, valkeys, valkey and unix"),
    };
    Ok(Server { address, tls, login })
}

fn tcp(place: &str, path: &str) -> Result<Address, &'static str> {
    if !matches!(path, "" | "/" | "/0") {
        return Err("it has a path; channels are the same in all databases, so use database 0");
    }
    let authority =
        Authority::try_from(place).map_err(|_| "it has no host; give one such as redis:6379")?;
    let host = authority.host();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = match place.strip_prefix(authority.host()) {
        Some("") => PORT,
        _ => authority.port_u16().ok_or("its port is not a number from 0 to 65535")?,
    };
    if host.is_empty() {
        return Err("it has no host; give one such as redis:6379");
    }
    Ok(Address::Tcp { host: host.into(), port })
}

/// Reads user information. A name without a password can't log in.
fn login(info: &str) -> Result<Login, &'static str> {
    let (user, password) =
        info.split_once(':').ok_or("it has a user without a password; give user:password")?;
    let wrong = "its user information is not UTF-8 in percent encoding";
    let user = decoded(user).ok_or(wrong)?;
    let password = decoded(password).ok_or(wrong)?;
    if password.is_empty() {
        return Err("its password is empty; give one, or no user information");
    }
    let user = Some(user).filter(|user| !user.is_empty());
    Ok(Login { user, password: SecretString::new(password) })
}

/// Decodes percent encoding (RFC 3986, section 2.1). The buffer that it works in is wiped.
fn decoded(text: &str) -> Option<Box<str>> {
    // Large enough, because a buffer that grows leaves copies.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        rest = after;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
    }
    str::from_utf8(&bytes).ok().map(Box::from)
}

/// Returns the part of a bad URL that an error may show.
///
/// A stray `/`, `?` or `#` in a password moves a part of it to another place, so nothing of a URL
/// with an `@` is shown. Without one, a password may stand where the port is.
fn redacted(url: &str) -> String {
    match url.split_once("://") {
        _ if url.contains('@') => "<a URL with user information>".into(),
        Some((scheme, rest)) => {
            let host = rest.split(['/', '?', '#', ':']).next().unwrap_or_default();
            format!("{scheme}://{host}").chars().take(100).collect()
        }
        None => "<not a URL>".into(),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn reason(url: &str) -> String {
        Server::parse(url).unwrap_err().to_string()
    }

    #[test]
    fn a_url_is_read_in_its_parts() {
        for (url, shown) in [
            ("redis://redis", "redis://redis:6379"),
            ("rediss://redis:6380", "rediss://redis:6380"),
            ("valkeys://redis/0", "rediss://redis:6379"),
            ("valkey://127.0.0.1:7000/", "redis://127.0.0.1:7000"),
            ("rediss://u:hunter2@[2001:db8::1]:6380", "rediss://[2001:db8::1]:6380"),
            ("rediss://:hunter2@[::1]", "rediss://[::1]:6379"),
            ("unix:///run/redis.sock", "unix:///run/redis.sock"),
            ("unix://u:hunter2@/run/redis.sock", "unix:///run/redis.sock"),
        ] {
            let server = Server::parse(url).unwrap();
            assert_eq!(server.to_string(), shown);
            assert_eq!(format!("{server:?}"), shown);
        }
    }

    #[test]
    fn user_and_password_are_decoded() {
        for (url, user, password) in [
            ("rediss://reauth:hunter2@redis", Some("reauth"), "hunter2"),
            ("rediss://:hunter2@redis", None, "hunter2"),
            ("rediss://a%40b:p%2f%3a%C3%BC@redis", Some("a@b"), "p/:ü"),
            ("rediss://u:a:b@c@redis", Some("u"), "a:b@c"),
        ] {
            let login = Server::parse(url).unwrap().login.unwrap();
            assert_eq!(login.user.as_deref(), user);
            assert_eq!(login.password.expose_secret(), password);
        }
    }

    #[test]
    fn plain_redis_is_exposed_beyond_this_machine() {
        for (url, exposed) in [
            ("redis://127.0.0.1", false),
            ("redis://localhost:1", false),
            ("redis://[::1]", false),
            ("unix:///run/redis", false),
            ("rediss://redis", false),
            ("redis://redis", true),
            ("redis://127.0.0.1.evil.example", true),
            ("redis://10.0.0.1", true),
        ] {
            assert_eq!(Server::parse(url).unwrap().is_exposed(), exposed, "{url}");
        }
    }

    #[test]
    fn a_bad_url_is_a_typed_error_that_shows_no_part_of_the_password() {
        for url in [
            "hunter2",
            "http://u:hunter2@redis",
            "rediss://:hunter2",
            "rediss://u:hunter2@",
            "rediss://u:hunter2@:6379",
            "rediss://u:hunter2@redis:x",
            "rediss://u:hunter2@redis:70000",
            "rediss://u:hunter2@redis/1",
            "rediss://u:hunter2@redis?protocol=resp3",
            "rediss://u:hunter2%@redis",
            "rediss://u:hunter2%ff@redis",
            "rediss://hunter2@redis",
            "rediss://u:@redis",
            "rediss://u:12/hunter2@redis",
            "rediss://u:12#hunter2@redis",
            "rediss://u:12?hunter2@redis",
            "unix://u:hunter2@",
            "unix://u:hunter2@redis/x",
        ] {
            let error = reason(url);
            assert!(!error.contains("hunter2") && !error.contains("12"), "{error}");
        }
        assert!(reason("rediss://redis:x").contains("rediss://redis"));
    }
}
