//! [`Tokens`]: the tokens that were issued, and which of them live.

use std::collections::HashMap;

use crate::sandbox::bounded_map::BoundedMap;

const MAX_TOKENS: usize = 100_000;
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A grant: who gets a token, and for what.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Grant {
    /// The client, or the subject of an assertion without a client.
    pub(super) owner: String,
    pub(super) subject: String,
    /// The scopes that were granted, joined by spaces.
    pub(super) scope: Option<String>,
    /// The audiences and resources.
    pub(super) audience: Vec<String>,
}

/// A token. It has no `Debug`, so that no log can show it.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) secret: String,
    /// The first token of the server has 1.
    pub(super) number: u64,
    pub(super) grant: Grant,
    /// In seconds since 1970.
    pub(super) expires_at: u64,
}

/// All tokens of a server.
pub(super) struct Tokens {
    by_secret: BoundedMap<Token>,
    newest: HashMap<Grant, String>,
    issued: u64,
    /// For each owner, the number up to which its tokens are dead.
    dead: HashMap<String, u64>,
    /// For each owner, the number up to which the resource refuses its tokens.
    refused: HashMap<String, u64>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            by_secret: BoundedMap::new(MAX_TOKENS, MAX_BYTES),
            newest: HashMap::new(),
            issued: 0,
            dead: HashMap::new(),
            refused: HashMap::new(),
        }
    }
}

impl Tokens {
    /// Returns the number of the next token.
    pub(super) fn next_number(&mut self) -> u64 {
        self.issued += 1;
        self.issued
    }

    pub(super) fn insert(&mut self, token: Token) {
        let size = token.secret.len() * 2;
        self.newest.insert(token.grant.clone(), token.secret.clone());
        self.by_secret.insert(token.secret.clone(), token, size);
    }

    /// Returns the newest token of a grant, if it lives.
    pub(super) fn newest(&self, grant: &Grant, now: u64) -> Option<&Token> {
        let token = self.by_secret.get(self.newest.get(grant)?)?;
        self.lives(token, now).then_some(token)
    }

    /// Kills all tokens of `owner` with a number below `number`.
    pub(super) fn kill_before(&mut self, owner: &str, number: u64) {
        self.dead.insert(owner.to_owned(), number.saturating_sub(1));
    }

    /// Kills all tokens of `owner` so far.
    pub(super) fn kill(&mut self, owner: &str) {
        self.dead.insert(owner.to_owned(), self.issued);
    }

    /// Makes the resource refuse all tokens of `owner` so far, although they live.
    pub(super) fn refuse(&mut self, owner: &str) {
        self.refused.insert(owner.to_owned(), self.issued);
    }

    /// Returns the token, if the resource accepts it.
    pub(super) fn accepted(&self, secret: &str, now: u64) -> Option<&Token> {
        let token = self.by_secret.get(secret)?;
        let refused = self.refused.get(&token.grant.owner).copied().unwrap_or(0);
        (self.lives(token, now) && token.number > refused).then_some(token)
    }

    fn lives(&self, token: &Token, now: u64) -> bool {
        let dead = self.dead.get(&token.grant.owner).copied().unwrap_or(0);
        token.number > dead && now < token.expires_at
    }
}
