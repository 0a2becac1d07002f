//! [`Name`]: the key of a value in a store.

use std::fmt;

/// The longest name, in bytes.
const LONGEST: usize = 128;

/// The key under which the processes of one client id share their token.
///
/// It has 1 to 128 characters, each of them a lower-case letter, a digit, a hyphen or an
/// underscore. So it can be a file's name and a part of any key.
///
/// # Examples
///
/// ```
/// use tower_reauth::store::Name;
///
/// assert_eq!(Name::new("payments").map(|name| name.to_string()), Some("payments".into()));
/// assert_eq!(Name::new("../payments"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// Creates a name from `text`; `None` if a character of it is not allowed, or if it is empty
    /// or too long.
    pub fn new(text: &str) -> Option<Self> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        let fits = (1..=LONGEST).contains(&text.len()) && text.bytes().all(allowed);
        fits.then(|| Self(text.into()))
    }

    /// Returns the text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
