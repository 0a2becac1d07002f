//! [`SandboxState`]: the state that the handlers of one sandbox share.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    accounts::Accounts,
    clients::Clients,
    clock::Clock,
    counters::Tally,
    faults::Faults,
    log::Log,
    token::{SignedToken, Signer},
};

/// The state of one sandbox. Each part has a lock of its own, and no two are held at once.
pub(super) struct SandboxState {
    pub(super) clock: Clock,
    pub(super) signer: Signer,
    pub(super) clients: Clients,
    pub(super) accounts: Accounts,
    pub(super) faults: Faults,
    pub(super) tally: Arc<Tally>,
    pub(super) log: Option<Log>,
    pub(super) auth_latency: Duration,
    pub(super) resource_latency: Duration,
}

impl SandboxState {
    pub(super) fn new(
        clock: Clock,
        signer: Signer,
        secrets: HashMap<String, String>,
        log: Option<Log>,
        auth_latency: Duration,
        resource_latency: Duration,
    ) -> Self {
        Self {
            clock,
            signer,
            clients: Clients::new(secrets),
            accounts: Accounts::default(),
            faults: Faults::default(),
            tally: Arc::default(),
            log,
            auth_latency,
            resource_latency,
        }
    }

    pub(super) fn knows(&self, client: &str) -> bool {
        self.clients.contains(client)
    }

    /// Issues a token, which kills the one before it of the same client.
    pub(super) fn issue(&self, client: &str) -> Result<SignedToken, jsonwebtoken::errors::Error> {
        let issued = self.signer.sign(client, self.clock.now())?;
        self.put_in_use(client, &issued);
        Ok(issued)
    }

    /// Issues a token that has already expired. It kills the one before it all the same.
    pub(super) fn issue_expired(
        &self,
        client: &str,
    ) -> Result<SignedToken, jsonwebtoken::errors::Error> {
        let issued = self.signer.sign_expired(client, self.clock.now())?;
        self.put_in_use(client, &issued);
        Ok(issued)
    }

    fn put_in_use(&self, client: &str, issued: &SignedToken) {
        self.clients.replace(client, issued.id.clone());
        self.tally.count(|counters| counters.tokens_issued += 1);
    }
}
