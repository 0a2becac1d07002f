//! One fleet by a seed: its processes, and what goes wrong with them.

use std::{sync::Arc, time::Duration};

use fastrand::Rng;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tower_reauth::store::MemoryStore;

use super::{
    figures::Figures,
    plan::{EARLIEST, Faults, Plan, Report},
    process::Process,
    world::{Point, Post, Trap, World},
};

struct Fleet {
    plan: Plan,
    world: Arc<World>,
    rng: Rng,
    processes: Vec<Process>,
    /// When those that have stopped start again.
    absent: Vec<Instant>,
    stops: mpsc::UnboundedReceiver<usize>,
    started: usize,
    faults: u64,
    alone: u64,
    longest_hold: Duration,
    /// When the faults that heal do so.
    heals: Vec<(Instant, Heal)>,
}

/// The end of a fault.
enum Heal {
    /// Of the process with this number.
    Process(usize),
    Store(MemoryStore),
    Endpoint,
    Resources,
}

/// Plays one fleet to its end.
pub(super) async fn play(seed: u64) -> Report {
    let mut rng = Rng::with_seed(seed);
    let plan = Plan::new(&mut rng);
    let (world, stops) = World::new(Figures::FINE, plan.lifetime, rng.fork()).await;
    let mut fleet = Fleet {
        plan,
        world,
        rng,
        processes: Vec::new(),
        absent: Vec::new(),
        stops,
        started: 0,
        faults: 0,
        alone: 0,
        longest_hold: Duration::ZERO,
        heals: Vec::new(),
    };
    fleet.play().await
}

impl Fleet {
    async fn play(&mut self) -> Report {
        let world = Arc::clone(&self.world);
        let (begins, ends) = self.plan.storm;
        world.lock().calm = self.plan.faults == Faults::None;
        world.lock().hold_bound += self.plan.drain();
        for _ in 0..self.plan.processes {
            if self.rng.bool() {
                sleep(Duration::from_millis(self.rng.u64(0..200))).await;
            }
            self.start();
        }
        sleep_until(world.started + begins).await;
        while world.started.elapsed() < ends {
            let pause = Duration::from_millis(self.rng.u64(20..2000));
            self.strike().await;

            self.pass(Instant::now() + pause).await;
        }
        self.heal().await;
        let ended = world.lock().fault_ends.max(Instant::now());
        self.pass(ended).await;
        world.tell("all faults have ended");
        let is_together = timeout(self.plan.recovery(), self.is_of_one_mind()).await.is_ok();
        let recovery = ended.elapsed();
        if !is_together {
            let (serving, newest) = (self.serving(), world.newest());
            world.wrong(&format!("serving {serving:?} with {newest} alive after the last fault"));
        }
        // And what was sent before has been answered.
        sleep_until(ended + self.plan.recovery() + Duration::from_millis(500)).await;
        self.be_calm().await;
        self.report(recovery)
    }

    /// Checks that all is well from here on.
    async fn be_calm(&mut self) {
        let world = Arc::clone(&self.world);
        let since = Instant::now();
        world.lock().calm = true;
        world.tell("nothing may go wrong from here on");
        sleep(self.plan.lifetime.mul_f64(1.5)).await;
        if timeout(Duration::from_secs(1), self.is_of_one_mind()).await.is_err() {
            world.wrong("not of one mind in the end");
        }
        let state = world.lock();
        let (unexpected, posts) = (state.unexpected, state.posts.clone());
        drop(state);
        if unexpected > 0 {
            world.wrong(&format!("{unexpected} 401s though nothing is wrong"));
        }
        let is_none = self.plan.faults == Faults::None;
        let posts: Vec<_> = posts.into_iter().filter(|at| is_none || *at > since).collect();
        let least = self.plan.lifetime.mul_f64(EARLIEST);
        if let Some(pair) = posts.windows(2).find(|pair| pair[1] - pair[0] < least) {
            world.wrong(&format!("two requests for tokens within {:?}", pair[1] - pair[0]));
        }
    }

    fn start(&mut self) {
        let Plan { processes, store_down, .. } = self.plan;
        let mut process = Process::start(&self.world, self.started, Plan::policy(), store_down);
        self.started += 1;
        let (callers, pause) = if processes > 10 { (1, 500) } else { (2, 250) };
        for _ in 0..callers {
            process.call(Duration::from_millis(pause));
        }
        self.processes.push(process);
    }

    fn stop(&mut self, index: usize) {
        let process = self.processes.swap_remove(index);
        self.count(&process);
        process.stop();
        let absent = Duration::from_millis(self.rng.u64(0..6000));
        self.absent.push(Instant::now() + absent);
    }

    fn count(&mut self, process: &Process) {
        let counters = process.counters();
        self.alone += counters.store_alone;
        self.longest_hold =
            self.longest_hold.max(counters.longest_hold).max(counters.longest_sibling_hold);
    }

    /// Lets time pass, in which faults end, and processes stop and start.
    async fn pass(&mut self, until: Instant) {
        loop {
            let now = Instant::now();
            while let Ok(stopped) = self.stops.try_recv() {
                if let Some(index) = self.processes.iter().position(|it| it.link.process == stopped)
                {
                    self.stop(index);
                }
            }
            while let Some(index) = self.absent.iter().position(|at| *at <= now) {
                self.absent.swap_remove(index);
                self.start();
            }
            while let Some(index) = self.heals.iter().position(|(at, _)| *at <= now) {
                let (_, heal) = self.heals.swap_remove(index);
                self.end(heal);
            }
            if now >= until {
                return;
            }
            sleep((until - now).min(Duration::from_millis(20))).await;
        }
    }

    fn end(&mut self, heal: Heal) {
        match heal {
            Heal::Process(number) => {
                let process = self.processes.iter().find(|it| it.link.process == number);
                if let Some(process) = process {
                    process.link.heal();
                }
            }
            Heal::Store(store) => {
                self.world.start_store(store);
                self.processes.iter().for_each(|process| process.link.resubscribe());
            }
            Heal::Endpoint => self.world.lock().post_faults = 0.0,
            Heal::Resources => self.world.lock().refuses = 0.0,
        }
    }

    /// Ends all faults, and starts all processes that have stopped.
    async fn heal(&mut self) {
        self.world.lock().trap = None;
        self.pass(Instant::now()).await;
        for (_, heal) in std::mem::take(&mut self.heals) {
            self.end(heal);
        }
        for _ in std::mem::take(&mut self.absent) {
            self.start();
        }
    }

    /// Has something go wrong.
    async fn strike(&mut self) {
        let kinds: Vec<_> = Faults::KINDS.into_iter().filter(|kind| self.plan.has(*kind)).collect();
        if kinds.is_empty() || self.processes.is_empty() {
            return;
        }
        self.faults += 1;
        let kind = kinds[self.rng.usize(0..kinds.len())];
        self.world.tell(&format!("a fault: {kind:?}"));
        match kind {
            Faults::Crashes if self.rng.bool() => {
                let chosen = self.rng.usize(0..self.processes.len());
                self.stop(chosen);
            }
            Faults::Crashes => self.trap(None),
            Faults::Pauses => {
                let pause = Duration::from_millis(self.rng.u64(50..4000));
                if self.rng.bool() {
                    return self.trap(Some(pause));
                }
                let process = &self.processes[self.rng.usize(0..self.processes.len())];
                let until = Instant::now() + pause;
                let mut weather = process.link.weather();
                weather.paused = weather.paused.max(until);
                let mut state = self.world.lock();
                state.fault_ends = state.fault_ends.max(until);
            }
            Faults::Losses => self.lose(),
            Faults::Store => self.cut().await,
            Faults::Endpoint => self.fail_posts(),
            _ => self.refuse(),
        }
    }

    fn soon(&mut self) -> Instant {
        Instant::now() + Duration::from_millis(self.rng.u64(100..8000))
    }

    fn trap(&mut self, pause: Option<Duration>) {
        let point = Point::ALL[self.rng.usize(0..Point::ALL.len())];
        // The one that takes over may fall into it as well.
        let more = self.rng.u32(0..3).saturating_sub(1);
        self.world.lock().trap = Some(Trap { point, pause, more });
    }

    /// Has requests for tokens fail, or all of them hang, with the token killed or not.
    fn fail_posts(&mut self) {
        let same = match self.rng.u32(0..4) {
            0 => Some(Post::Lost { issues: true }),
            1 => Some(Post::Lost { issues: false }),
            _ => None,
        };
        let share = if same.is_some() { 1.0 } else { self.rng.f64() };
        let mut state = self.world.lock();
        (state.post_faults, state.same_fault) = (share, same);
        drop(state);
        let until = self.soon();
        self.heals.push((until, Heal::Endpoint));
    }

    /// Has resources refuse tokens that are alive, or somebody else kill the one in use.
    fn refuse(&mut self) {
        if self.rng.bool() {
            return self.world.issue_elsewhere();
        }
        self.world.lock().refuses = 0.2 * self.rng.f64();
        let until = self.soon();
        self.heals.push((until, Heal::Resources));
    }

    /// Loses notices or answers of the store, or delays them, for one process or all.
    fn lose(&mut self) {
        let until = self.soon();
        let all = 0..self.processes.len();
        let chosen = if self.rng.u32(0..4) == 0 {
            all
        } else {
            let one = self.rng.usize(all);
            one..one + 1
        };
        let (kind, share) = (self.rng.u32(0..3), self.rng.f64());
        for process in &self.processes[chosen] {
            let mut weather = process.link.weather();
            match kind {
                0 => weather.deaf = true,
                1 => weather.loses = share,
                _ => weather.slow = Duration::from_millis(600).mul_f64(share),
            }
            self.heals.push((until, Heal::Process(process.link.process)));
        }
    }

    /// Cuts processes off from the store, or stops it.
    async fn cut(&mut self) {
        let until = self.soon();
        let kind = self.rng.u32(0..4);
        if kind < 2
            && let Some(store) = self.world.stop_store()
        {
            let store = if kind == 0 { store } else { self.world.empty_store().await };
            self.heals.push((until, Heal::Store(store)));
            return;
        }
        let all = 0..self.processes.len();
        let chosen = if kind == 2 {
            all
        } else {
            let one = self.rng.usize(all);
            one..one + 1
        };
        let hangs = self.rng.bool();
        for process in &self.processes[chosen] {
            let mut weather = process.link.weather();
            (weather.cut, weather.hangs) = (true, hangs);
            self.heals.push((until, Heal::Process(process.link.process)));
        }
    }

    fn serving(&self) -> Vec<usize> {
        self.processes.iter().map(Process::serving).collect()
    }

    /// Waits until all processes serve the token that is alive.
    async fn is_of_one_mind(&self) {
        loop {
            let newest = self.world.newest();
            if self.world.is_alive(newest) && self.serving().iter().all(|it| *it == newest) {
                return;
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    fn report(&mut self, recovery: Duration) -> Report {
        for process in std::mem::take(&mut self.processes) {
            self.count(&process);
        }
        let trace = self.world.trace();
        let state = self.world.lock();
        let longest_delay = state.calls.delays.iter().max().copied().unwrap_or_default();
        Report {
            plan: self.plan,
            posts: state.posts.len(),
            elapsed: self.world.started.elapsed(),
            faults: self.faults,
            faulty_posts: state.faulty_posts,
            refusals: state.refusals,
            alone: self.alone,
            answered: state.calls.answered,
            wire: state.wire,
            seen: state.calls.seen,
            errors: state.calls.errors,
            longest_hold: self.longest_hold,
            longest_delay,
            recovery,
            trace,
            wrong: state.wrong.clone(),
        }
    }
}
