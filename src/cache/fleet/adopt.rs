//! A token of another process, as one of this cache.

use super::super::{complete::Arrival, core::Core};
use crate::{
    fleet::{Anchor, Fleet, Member},
    store::value::{TokenState, Value},
    token::AccessToken,
};

/// Opens the token of `value` as one of this cache; `None` if it can't be sent.
pub(super) fn open(
    core: &Core,
    fleet: &Fleet,
    member: &Member,
    value: &Value,
    anchor: Anchor,
) -> Option<(AccessToken, Arrival)> {
    let head = &value.head;
    if head.state == TokenState::Dead {
        return None;
    }
    let windows = &core.rules.policy.windows;
    let opened = fleet.open(member, value, anchor, (&core.scheme, windows));
    let token = opened.map_err(|error| core.store_failed(&error)).ok()?;
    // A holder that stopped may have asked for the token's successor.
    let was_held = head.lease.is_some_and(|lease| lease.hold);
    let arrival = Arrival {
        adopted: true,
        takeover: head.takeover,
        suspect: head.state == TokenState::Suspect || was_held,
        cooldown: Some(head.cooldown),
    };
    token.is_usable().then_some((token, arrival))
}
