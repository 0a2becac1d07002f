//! The name in the store under which processes with the same identity share a token.

use http::Uri;
use sha2::{Digest, Sha256};

use crate::{
    store::Name,
    token::{Identity, in_hex},
};

/// Returns the key under which processes with this identity share a token. It tells nothing of the
/// client id.
pub(super) fn name(identity: &Identity, uri: Option<&Uri>, namespace: &str) -> Option<Name> {
    let mut hash = Sha256::new_with_prefix("tower-reauth/1");
    let uri = uri.map(ToString::to_string).unwrap_or_default();
    let others = identity.others().flat_map(|(key, value)| [key, value]);
    for part in [&uri, identity.client_id(), namespace].into_iter().chain(others) {
        // With its length, because a part may have any character in it.
        hash.update([0]);
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Name::new(&in_hex(&hash.finalize()[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(identity: &Identity, uri: &'static str, namespace: &str) -> String {
        let uri = Uri::from_static(uri);
        super::name(identity, Some(&uri), namespace).expect("hex is allowed").to_string()
    }

    #[test]
    fn whatever_makes_tokens_differ_makes_another_name() {
        let (id, uri) = (Identity::new("a"), "https://api.example.com/auth");
        let names = [
            name(&id, uri, ""),
            name(&id, uri, "test"),
            name(&id, "https://example.com/auth", ""),
            name(&Identity::new("b"), uri, ""),
            name(&id.clone().with("scope", "x"), uri, ""),
            name(&id.clone().with("scope", "y"), uri, ""),
            name(&id.clone().with("audience", "x"), uri, ""),
            name(&Identity::new("a\0b"), uri, ""),
            name(&Identity::new("a"), uri, "b"),
        ];
        for (index, name) in names.iter().enumerate() {
            assert_eq!(name.len(), 32);
            assert!(!names[..index].contains(name), "{index}");
        }
        assert_eq!(names[0], name(&Identity::new("a"), uri, ""));
        assert_eq!(names[0], name(&id.with_secret("s"), uri, ""), "a secret can be replaced");
    }
}
