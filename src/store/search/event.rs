//! [`Event`]: what may happen.

/// An event, and the place of the process that it befalls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) kind: Kind,
    pub(super) at: usize,
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The token of a process has come to its time.
    Due,
    /// A caller wants a new token, whatever the back-off is.
    Forced,
    /// A caller comes to a process that can't serve.
    Call,
    /// A request is answered 401, because its token is dead.
    Refused,
    /// A process hears of the value as it is now. A notice that is lost never occurs. One that
    /// comes late counts as heard before the changes that it does not tell of, because a process
    /// ignores what is older than what it knows.
    Hear,
    Enter,
    /// A process that waits asks the store.
    Look,
    /// The holder decides to send its request.
    Check,
    Send,
    /// The endpoint issues a token.
    Issue,
    /// The same, to a request whose sender no longer waits.
    IssueLate,
    Answer,
    Extend,
    Publish,
    Leave,
    /// A lease expires that nobody can use, or a back-off ends.
    Age,
    // The faults.
    Expire,
    Fail,
    Crash,
    Drop,
    Forget,
    /// A step whose answer is lost.
    LostAnswer,
}

impl Kind {
    /// Returns whether the processes can count on it: there is traffic, and nothing else helps.
    pub(super) fn is_certain(self) -> bool {
        use Kind::{Crash, Drop, Due, Expire, Fail, Forced, Forget, Hear, IssueLate, LostAnswer};
        !matches!(self, Due | Forced | Hear | IssueLate)
            && !matches!(self, Expire | Fail | Crash | Drop | Forget | LostAnswer)
    }
}
