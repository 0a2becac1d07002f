//! The events of a state, and what each makes of it.

use std::time::Duration;

use bytes::Bytes;

use super::{
    event::{Event, Kind},
    state::{GONE, LEASE, Post, Process, Shared, Stage, State, cooldown, gate, token},
};
use crate::{
    error::Fate,
    store::{
        steps::{self, Entry, Publication, Wish},
        value::{Owner, SharedCooldown, SharedGate, Value},
    },
};

/// The functions that are searched. Mutants replace one of them.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    /// Reads the floor of a process' wish.
    pub(super) floor: fn(&Process) -> u8,
    pub(super) enter: fn(&Value, Duration, &Wish, u64) -> Entry,
    pub(super) extend: fn(&Value, Owner, u64) -> Option<Value>,
    pub(super) publish: fn(&Value, u64, &Bytes, SharedCooldown) -> Publication,
    pub(super) leave: fn(&Value, Owner, u64, Fate, Option<SharedGate>) -> Option<Value>,
}

pub(super) const STEPS: Steps = Steps {
    floor: |process| process.floor,
    enter: steps::enter,
    extend: steps::extend,
    publish: steps::publish,
    leave: steps::leave,
};

/// Collects the events of one state.
pub(super) struct Events<'a> {
    steps: &'a Steps,
    state: State,
    at: usize,
    out: &'a mut Vec<(Event, State)>,
}

impl<'a> Events<'a> {
    /// Appends to `out` what may happen to `state`, with the states after it, which are not
    /// canonical yet.
    pub(super) fn collect(steps: &'a Steps, state: State, out: &'a mut Vec<(Event, State)>) {
        let mut events = Events { steps, state, at: 0, out };
        for at in 0..state.processes.len() {
            events.at = at;
            if state.processes[at].stage != Stage::Absent {
                events.process();
                events.faults();
            }
        }
        events.environment();
    }

    fn me(&self) -> Process {
        self.state.processes[self.at]
    }

    fn owner(&self) -> u8 {
        u8::try_from(self.at).expect("three of them") + 1
    }

    fn add(&mut self, kind: Kind, change: impl FnOnce(&mut State, usize)) {
        let mut next = self.state;
        change(&mut next, self.at);
        if next != self.state {
            self.out.push((Event { kind, at: self.at }, next));
        }
    }

    /// Adds a change of this process alone.
    fn turn(&mut self, kind: Kind, change: impl FnOnce(&mut Process)) {
        self.add(kind, |next, at| change(&mut next.processes[at]));
    }

    /// Adds a step that writes `value`, once with its answer and once without.
    fn write(&mut self, kind: Kind, value: &Value, then: impl FnOnce(&mut Process)) {
        let mut written = self.state;
        written.value = Shared::of(value);
        written.old = false;
        self.add(kind, |next, at| {
            *next = written;
            then(&mut next.processes[at]);
        });
        if self.state.left.lost > 0 {
            self.add(Kind::LostAnswer, |next, at| {
                *next = written;
                next.left.lost -= 1;
                if next.processes[at].stage == Stage::Waiting {
                    next.processes[at].stage = Stage::Entering;
                }
            });
        }
    }

    fn process(&mut self) {
        let me = self.me();
        let is_dead = me.serves > 0 && me.token != self.state.living && !me.refused;
        self.add(Kind::Hear, hear);
        match me.stage {
            Stage::Absent => {}
            Stage::Idle => {
                if me.needs() {
                    self.turn(Kind::Call, |me| me.wish(false));
                } else {
                    self.due(me.serves);
                }
                if is_dead {
                    self.turn(Kind::Refused, |me| {
                        me.refused = true;
                        me.wish(false);
                    });
                }
            }
            Stage::Entering => self.enter(Kind::Enter),
            Stage::Waiting => {
                // The hold may have timed out. One request then goes first, with a token that may
                // be dead.
                if is_dead {
                    self.turn(Kind::Refused, |me| me.refused = true);
                }
                let mut heard = self.state;
                hear(&mut heard, self.at);
                if heard.processes[self.at].stage == Stage::Waiting {
                    self.enter(Kind::Look);
                } else {
                    self.add(Kind::Look, hear);
                }
            }
            Stage::Granted if me.fresh => self.turn(Kind::Check, |me| me.stage = Stage::Sending),
            Stage::Granted => self.extend(),
            Stage::Sending => self.add(Kind::Send, |next, at| {
                next.posts += 1;
                next.processes[at].stage = Stage::Out;
                next.processes[at].post = Post::OnItsWay;
            }),
            Stage::Out => self.out(),
            Stage::Publishing => self.publish(),
            Stage::Leaving => self.leave(),
        }
    }

    /// Adds the wish of a process for the successor of a token that lives.
    fn due(&mut self, serves: u8) {
        let State { wished, left, value, .. } = self.state;
        if serves != wished && left.renewals == 0 {
            return;
        }
        for forced in [false, true] {
            // Which makes no difference where there is no back-off.
            if !forced || left.failures > 0 || value.gate {
                self.add(if forced { Kind::Forced } else { Kind::Due }, |next, at| {
                    next.left.renewals -= u8::from(serves != wished);
                    next.wished = serves;
                    next.processes[at].wish(forced);
                });
            }
        }
    }

    fn enter(&mut self, kind: Kind) {
        let me = self.me();
        let wish = Wish {
            owner: self.owner().into(),
            floor: (self.steps.floor)(&me).into(),
            forced: me.forced,
            holds: true,
            passes: None,
            longest_back_off: Duration::MAX,
            cooldown: cooldown(me.refused),
            lease: LEASE,
        };
        let value = self.state.value.value();
        let revision = self.state.next_number().into();
        match (self.steps.enter)(&value, self.state.age(), &wish, revision) {
            Entry::Newer => self.add(kind, |next, at| {
                adopt(next, at);
                next.processes[at].idle();
            }),
            Entry::BackingOff(..) => self.turn(kind, Process::idle),
            Entry::Held => self.turn(kind, Process::join),
            Entry::Granted(value) => {
                let fence = Shared::of(&value).fence;
                self.write(kind, &value, |me| {
                    me.stage = Stage::Granted;
                    me.forced = false;
                    me.fence = fence;
                    me.fresh = true;
                });
            }
        }
    }

    fn extend(&mut self) {
        let (owner, fence) = (self.owner().into(), self.me().fence.into());
        match (self.steps.extend)(&self.state.value.value(), owner, fence) {
            Some(value) => self.write(Kind::Extend, &value, |me| me.fresh = true),
            // Between two attempts too. A request that is out is waited for.
            None if self.me().stage == Stage::Granted => self.turn(Kind::Extend, Process::join),
            None => {}
        }
    }

    /// Adds what happens to a process whose request is out.
    fn out(&mut self) {
        if self.state.old {
            self.extend();
        }
        let failed = |kind: &mut Self, fate: u8, abandon: bool| {
            // It tries once more under the same lease, or gives up.
            for stage in [Stage::Granted, Stage::Leaving] {
                kind.add(Kind::Fail, |next, at| {
                    if abandon {
                        next.abandon(at);
                    }
                    next.left.failures -= 1;
                    let me = &mut next.processes[at];
                    *me = Process { stage, post: Post::None, fate: me.fate.max(fate), ..*me };
                });
            }
        };
        let may_fail = self.state.left.failures > 0;
        match self.me().post {
            Post::None => {}
            Post::OnItsWay => {
                self.add(Kind::Issue, |next, at| {
                    let token = next.issue(next.processes[at].fence);
                    next.processes[at].post = Post::Answered(token);
                });
                if may_fail {
                    failed(self, 0, false);
                    failed(self, 1, true);
                }
            }
            Post::Answered(_) => {
                self.turn(Kind::Answer, |me| me.stage = Stage::Publishing);
                if may_fail {
                    failed(self, 1, false);
                    failed(self, 2, false);
                }
            }
        }
    }

    fn publish(&mut self) {
        let me = self.me();
        let Post::Answered(id) = me.post else { unreachable!("it has a token") };
        let value = self.state.value;
        let serve = |me: &mut Process| {
            *me = Process { serves: me.fence, token: id, refused: false, ..*me };
            me.idle();
        };
        let cooldown = cooldown(value.early);
        match (self.steps.publish)(&value.value(), me.fence.into(), &token(id), cooldown) {
            Publication::Write(value) => self.write(Kind::Publish, &value, serve),
            Publication::Published => self.turn(Kind::Publish, serve),
            Publication::Fenced => self.turn(Kind::Publish, Process::join),
        }
    }

    fn leave(&mut self) {
        let me = self.me();
        let fate = [Fate::NotIssued, Fate::Unknown, Fate::Issued][usize::from(me.fate)];
        let value = self.state.value.value();
        let owner = self.owner().into();
        match (self.steps.leave)(&value, owner, me.fence.into(), fate, Some(gate())) {
            Some(value) => self.write(Kind::Leave, &value, Process::idle),
            None => self.turn(Kind::Leave, Process::idle),
        }
    }

    fn faults(&mut self) {
        let owner = self.owner();
        if self.state.left.crashes > 0 {
            self.add(Kind::Crash, |next, at| {
                next.left.crashes -= 1;
                next.abandon(at);
                next.processes[at] = Process { stage: Stage::Idle, ..Process::default() };
                if next.value.owner == owner {
                    next.value.owner = GONE;
                }
            });
        }
        if self.state.left.drops > 0 && self.me().flies() {
            self.add(Kind::Drop, |next, at| {
                next.left.drops -= 1;
                next.abandon(at);
                next.processes[at].idle();
            });
        }
    }

    fn environment(&mut self) {
        let State { value, old, late, left, .. } = self.state;
        for (place, fence) in late.into_iter().enumerate().filter(|(_, fence)| *fence > 0) {
            self.add(Kind::IssueLate, |next, _| {
                next.issue(fence);
                next.late[place] = 0;
                next.late.sort_unstable();
            });
        }
        if left.losses > 0 && value != Shared::default() {
            self.add(Kind::Forget, |next, _| {
                next.left.losses -= 1;
                next.value = Shared::default();
            });
        }
        if old || value.owner == 0 && !value.gate {
            return;
        }
        if !self.state.holder().is_some_and(Process::flies) {
            self.add(Kind::Age, |next, _| next.old = true);
        } else if left.expiries > 0 {
            self.add(Kind::Expire, |next, _| {
                next.left.expiries -= 1;
                next.old = true;
                // The holder sees it as well, unless it has looked already.
                next.processes[usize::from(value.owner) - 1].fresh = false;
            });
        }
    }
}

fn adopt(state: &mut State, at: usize) {
    let me = &mut state.processes[at];
    if state.value.sequence > me.serves {
        let Shared { sequence: serves, token, .. } = state.value;
        *me = Process { serves, token, refused: false, ..*me };
    }
}

/// Takes in the value as a notice tells it.
fn hear(state: &mut State, at: usize) {
    let before = state.processes[at].serves;
    adopt(state, at);
    let value = state.value;
    let me = &mut state.processes[at];
    let is_anothers = value.owner > 0 && usize::from(value.owner) != at + 1;
    match me.stage {
        Stage::Idle | Stage::Waiting if is_anothers && value.hold && me.serves > 0 => {
            if me.stage == Stage::Idle || me.serves > before {
                me.floor = me.serves;
            }
            me.join();
        }
        Stage::Waiting if me.serves > before => me.idle(),
        Stage::Waiting if !is_anothers => {
            me.refused |= value.state == 2 && me.serves == value.sequence && me.serves > 0;
            if me.needs() { me.wish(me.forced) } else { me.idle() }
        }
        _ => {}
    }
}
