//! Takes what responses say of a token into the [core](super::core).

use std::sync::Weak;

use super::{
    broadcast::Broadcast,
    core::Core,
    effect::Effects,
    hold,
    invalidate::{self, Decision},
    lease::{Generations, OnResponse},
    locked::Locked,
    trial,
    verdict::{ASKS_STORE, DoubtFuture, DoubtOutcome, OnDoubt, Probe, Refusal, Verdict},
};
use crate::{refresh::doubt::Sends, route::Route, token::AccessToken};

impl OnResponse for Core {
    fn refused(&self, refusal: &Refusal<'_>) -> Verdict {
        if let Some(answer) = self.ask_store(refusal) {
            return Verdict::AskStore(answer);
        }
        self.transition(|locked, inputs| {
            let others = locked.leases.as_ref().is_some_and(Generations::has_requests);
            let (decision, effects) =
                invalidate::refused(&mut locked.state, refusal, others, inputs);
            let verdict = verdict(self, locked, decision, refusal.sends);
            (verdict, effects)
        })
    }

    fn proof_refused(&self) {
        self.tally.proofs_refused.add();
    }

    fn accepted(&self, token: &AccessToken, route: Option<Route>) {
        self.transition(|locked, inputs| {
            ((), invalidate::accepted(&mut locked.state, token, route, inputs))
        });
    }

    fn unheard(&self, token: &AccessToken, was_sent: bool) {
        self.transition(|locked, inputs| {
            let state = &mut locked.state;
            let is_current = state.current.as_ref().is_some_and(|it| it.token.is(token));
            let effects = match (is_current, was_sent) {
                (false, _) => Effects::default(),
                (true, false) => hold::give_up_scouting(state, inputs),
                (true, true) => trial::unheard(state, inputs),
            };
            ((), effects)
        });
    }
}

impl OnDoubt for Core {
    fn end_doubt(&self, id: u64, outcome: DoubtOutcome) {
        self.transition(|locked, _| ((), invalidate::end_doubt(&mut locked.state, id, outcome)));
    }

    fn time_out_doubt(&self, id: u64) {
        if id == ASKS_STORE {
            return self.answered_by_store();
        }
        self.transition(|locked, inputs| {
            ((), invalidate::time_out_doubt(&mut locked.state, id, inputs))
        });
    }
}

/// Turns a decision into a verdict, which holds a part in the doubt that is in progress or begins.
fn verdict(core: &Core, locked: &mut Locked, decision: Decision, sends: Sends) -> Verdict {
    let doubts: Weak<dyn OnDoubt> = Weak::<Core>::clone(&core.on_response);
    match decision {
        Decision::Return => Verdict::Return,
        Decision::Pause(after) => Verdict::Again { after, probe: None },
        Decision::Probe { id, after } if sends.probe == Some(id) => Verdict::ProbeAgain { after },
        Decision::Probe { id, after } => {
            locked.doubt = Some(Broadcast::new());
            Verdict::Again { after, probe: Some(Probe::new(doubts, id)) }
        }
        Decision::Wait { id, until } => match &locked.doubt {
            Some(doubt) => Verdict::Wait(DoubtFuture::new(doubts, id, doubt.listen(false), until)),
            None => Verdict::Renew,
        },
        Decision::Drained { .. } | Decision::Renew => Verdict::Renew,
    }
}
