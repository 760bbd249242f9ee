//! Lock and state as a model: clients, requests on their way, two objects. The rules are those of `src/store`, one step at a time. A crash
//! is no step: a client that takes none any more has crashed, wherever it stood.

/// What is switched off, to see that something is missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    Nothing,
    /// Writes of the state are carried out whatever is there.
    CompareAndSwap,
    /// A taker writes the state first and replaces the lock then.
    LockFirst,
    /// A taker does not look at the lock again before it fences.
    Check,
    /// A taker replaces the lock and leaves the state as it is.
    Fence,
    /// Who has read the state does not look at the lock again.
    LookAfterLoad,
}

/// How much may happen; together they keep the model finite.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub without: Without,
    pub clients: usize,
    pub saves: u8,
    /// Heartbeats of all together.
    pub beats: u8,
    /// Lost requests, lost answers, late deliveries and duplicates.
    pub faults: u8,
    /// Takeovers and breaks, of holders that are dead or not.
    pub takeovers: u8,
    /// How often a client asks for the lock.
    pub tries: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Note {
    pub holder: u8,
    id: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Document {
    id: u8,
    serial: u8,
    /// One bit for each save that it contains.
    pub marks: u16,
}

/// A conditional write; `base` is the id of what it replaces, `None`: nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Write {
    Lock { base: Option<u8>, note: Option<Note> },
    State { base: Option<u8>, document: Document },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    Acquire,
    Take,
    Fence,
    Save,
    Beat,
    Release,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request {
    pub from: u8,
    pub purpose: Purpose,
    pub write: Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Idle,
    /// A request is on its way.
    Waiting(Request),
    /// Refused, or no answer: what is there decides.
    Unsure(Request),
    /// Took a lock from `of` and has not fenced yet; with what it has read of the state.
    Fencing {
        of: u8,
        read: Option<Option<Document>>,
    },
    Loading,
    /// Has read the state, and not yet looked whether the lock was still its own then.
    Loaded(Option<Document>),
    Working {
        held: Option<Document>,
        lock: u8,
    },
    /// Has given up, or was told that the lock or the state is somebody else's.
    Stopped,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    pub phase: Phase,
    /// What it works with while a request is on its way.
    held: Option<Document>,
    lock: u8,
    took_from: Option<u8>,
    breaking: bool,
    saves: u8,
    resends: u8,
    tries: u8,
    begun: bool,
}

/// What must never become true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wrongs {
    pub serial_twice: bool,
    pub fenced_saved: bool,
    pub innocent_fenced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub clients: Vec<Client>,
    pub network: Vec<Request>,
    pub lock: Option<Note>,
    pub state: Option<Document>,
    ids: u8,
    faults: u8,
    beats: u8,
    takeovers: u8,
    /// Saves that their client was told to be stored.
    pub told: u16,
    /// Clients that a finished takeover has fenced.
    fenced: u8,
    pub wrongs: Wrongs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Acquire(usize),
    TakeOver(usize),
    Break(usize),
    /// Reads what it needs next.
    Read(usize),
    Save(usize),
    Beat(usize),
    Release(usize),
    /// No answer came; the request may still arrive.
    GiveUp(usize),
    Deliver(usize),
    DeliverWithoutAnswer(usize),
    Lose(usize),
    /// The client's library sends it again by itself.
    Repeat(usize),
}

impl Client {
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            phase: Phase::Idle,
            held: None,
            lock: 0,
            took_from: None,
            breaking: false,
            saves: bounds.saves,
            resends: 1,
            tries: bounds.tries,
            begun: false,
        }
    }
}

impl World {
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            clients: (0..bounds.clients).map(|_| Client::new(bounds)).collect(),
            network: Vec::new(),
            lock: None,
            state: None,
            ids: 0,
            faults: bounds.faults,
            beats: bounds.beats,
            takeovers: bounds.takeovers,
            told: 0,
            fenced: 0,
            wrongs: Wrongs::default(),
        }
    }

    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (n, client) in self.clients.iter().enumerate() {
            // Who has not begun is like everybody else who has not: they begin in the order of their numbers.
            let in_turn = client.begun || self.clients[..n].iter().all(|other| other.begun);
            match client.phase {
                Phase::Idle if client.tries > 0 && in_turn => {
                    if self.lock.is_none() {
                        steps.push(Step::Acquire(n));
                    } else if self.takeovers > 0 {
                        steps.extend([Step::TakeOver(n), Step::Break(n)]);
                    }
                }
                Phase::Unsure(_) | Phase::Fencing { .. } | Phase::Loading | Phase::Loaded(_) => steps.push(Step::Read(n)),
                Phase::Working { .. } => {
                    if client.saves > 0 {
                        steps.push(Step::Save(n));
                    }
                    if self.beats > 0 {
                        steps.push(Step::Beat(n));
                    }
                    steps.push(Step::Release(n));
                }
                Phase::Waiting(_) if self.faults > 0 => steps.push(Step::GiveUp(n)),
                _ => {}
            }
        }
        for n in 0..self.network.len() {
            // Of two copies one is as good as the other.
            if n > 0 && self.network[n] == self.network[n - 1] {
                continue;
            }
            steps.push(Step::Deliver(n));
            if self.faults > 0 {
                steps.extend([Step::DeliverWithoutAnswer(n), Step::Lose(n), Step::Repeat(n)]);
            }
        }
        steps
    }

    pub fn wants_to_save(&self, n: usize) -> bool {
        self.clients[n].saves > 0
    }

    /// One more takeover, whatever there were.
    pub fn allow_takeover(&mut self) {
        self.takeovers = 1;
    }

    fn fresh(&mut self) -> u8 {
        self.ids += 1;
        self.ids
    }

    fn send(&mut self, from: usize, purpose: Purpose, write: Write) {
        let request = Request { from: from as u8, purpose, write };
        self.clients[from].phase = Phase::Waiting(request);
        self.clients[from].resends = 1;
        self.post(request);
    }

    fn post(&mut self, request: Request) {
        let at = self.network.partition_point(|other| *other < request);
        self.network.insert(at, request);
    }

    pub fn go(&mut self, bounds: &Bounds, step: Step) {
        match step {
            Step::Acquire(n) => {
                self.clients[n].tries -= 1;
                self.clients[n].begun = true;
                let note = Note { holder: n as u8, id: self.fresh() };
                self.send(n, Purpose::Acquire, Write::Lock { base: None, note: Some(note) });
            }
            Step::TakeOver(n) | Step::Break(n) => {
                let Some(there) = self.lock else { return };
                self.takeovers -= 1;
                self.clients[n].tries -= 1;
                self.clients[n].begun = true;
                self.clients[n].breaking = matches!(step, Step::Break(_));
                self.clients[n].took_from = Some(there.holder);
                self.clients[n].lock = there.id;
                if bounds.without == Without::LockFirst {
                    self.clients[n].phase = Phase::Fencing { of: there.holder, read: None };
                } else {
                    self.take(n);
                }
            }
            Step::Read(n) => self.read(bounds, n),
            Step::Save(n) => {
                let Phase::Working { held, lock } = self.clients[n].phase else { return };
                self.clients[n].saves -= 1;
                (self.clients[n].held, self.clients[n].lock) = (held, lock);
                let mark = 1 << (n * usize::from(bounds.saves) + usize::from(self.clients[n].saves));
                let document = self.next(held, mark);
                self.send(n, Purpose::Save, Write::State { base: held.map(|held| held.id), document });
            }
            Step::Beat(n) => {
                let Phase::Working { held, lock } = self.clients[n].phase else { return };
                self.beats -= 1;
                (self.clients[n].held, self.clients[n].lock) = (held, lock);
                let note = Note { holder: n as u8, id: self.fresh() };
                self.send(n, Purpose::Beat, Write::Lock { base: Some(lock), note: Some(note) });
            }
            Step::Release(n) => {
                let Phase::Working { lock, .. } = self.clients[n].phase else { return };
                self.send(n, Purpose::Release, Write::Lock { base: Some(lock), note: None });
            }
            Step::GiveUp(n) => {
                self.faults -= 1;
                if let Phase::Waiting(request) = self.clients[n].phase {
                    self.clients[n].phase = Phase::Unsure(request);
                }
            }
            Step::Deliver(at) | Step::DeliverWithoutAnswer(at) => {
                let request = self.network.remove(at);
                let done = self.carry_out(bounds, request);
                let silent = matches!(step, Step::DeliverWithoutAnswer(_));
                self.faults -= u8::from(silent);
                let n = usize::from(request.from);
                if self.clients[n].phase == Phase::Waiting(request) {
                    if done && !silent {
                        self.done(bounds, n, request);
                    } else {
                        self.clients[n].phase = Phase::Unsure(request);
                    }
                }
            }
            Step::Lose(at) => {
                self.faults -= 1;
                let request = self.network.remove(at);
                let n = usize::from(request.from);
                if self.clients[n].phase == Phase::Waiting(request) && !self.network.contains(&request) {
                    self.clients[n].phase = Phase::Unsure(request);
                }
            }
            Step::Repeat(at) => {
                self.faults -= 1;
                self.post(self.network[at]);
            }
        }
    }

    fn next(&mut self, held: Option<Document>, mark: u16) -> Document {
        let (serial, marks) = held.map_or((0, 0), |held| (held.serial, held.marks));
        Document { id: self.fresh(), serial: serial + 1, marks: marks | mark }
    }

    fn take(&mut self, n: usize) {
        let note = Note { holder: n as u8, id: self.fresh() };
        self.send(n, Purpose::Take, Write::Lock { base: Some(self.clients[n].lock), note: Some(note) });
    }

    /// What the store does with a request that arrives.
    fn carry_out(&mut self, bounds: &Bounds, request: Request) -> bool {
        match request.write {
            Write::Lock { base, note } => {
                if self.lock.map(|note| note.id) != base {
                    return false;
                }
                self.lock = note;
                if matches!(request.purpose, Purpose::Acquire | Purpose::Take) {
                    // It has the lock anew, by a request that was late or sent again.
                    self.fenced &= !(1 << request.from);
                }
            }
            Write::State { base, document } => {
                if bounds.without != Without::CompareAndSwap && self.state.map(|state| state.id) != base {
                    return false;
                }
                let before = self.state.map_or(0, |state| state.serial);
                self.wrongs.serial_twice |= document.serial != before + 1;
                let from = usize::from(request.from);
                if request.purpose == Purpose::Fence {
                    // Of somebody who has taken the lock anew meanwhile this is another hold.
                    let of = self.clients[from].took_from.filter(|of| self.lock.is_none_or(|note| note.holder != *of));
                    self.fenced |= of.map_or(0, |of| 1 << of);
                    let holder = self.lock.filter(|note| note.holder != request.from).map(|note| usize::from(note.holder));
                    let innocent = holder.is_some_and(|holder| {
                        let took = self.clients[from].took_from == Some(holder as u8);
                        !took && matches!(self.clients[holder].phase, Phase::Working { .. })
                    });
                    self.wrongs.innocent_fenced |= innocent;
                } else {
                    self.wrongs.fenced_saved |= self.fenced & (1 << request.from) != 0;
                }
                self.state = Some(document);
            }
        }
        true
    }

    /// The client knows that its write happened.
    fn done(&mut self, bounds: &Bounds, n: usize, request: Request) {
        let client = &mut self.clients[n];
        match (request.purpose, request.write) {
            (Purpose::Acquire, Write::Lock { note: Some(note), .. }) => {
                client.lock = note.id;
                client.phase = Phase::Loading;
            }
            (Purpose::Take, Write::Lock { note: Some(note), .. }) => {
                client.lock = note.id;
                let of = client.took_from.unwrap_or_default();
                client.phase = match bounds.without {
                    Without::LockFirst | Without::Fence => Phase::Loading,
                    _ => Phase::Fencing { of, read: None },
                };
                if bounds.without == Without::Fence {
                    self.fenced |= 1 << of;
                } else if bounds.without == Without::LockFirst && client.breaking {
                    let lock = client.lock;
                    self.send(n, Purpose::Release, Write::Lock { base: Some(lock), note: None });
                }
            }
            (Purpose::Fence, _) if bounds.without == Without::LockFirst => self.take(n),
            (Purpose::Fence, _) if client.breaking => {
                let lock = client.lock;
                self.send(n, Purpose::Release, Write::Lock { base: Some(lock), note: None });
            }
            (Purpose::Fence, _) => client.phase = Phase::Loading,
            (Purpose::Save, Write::State { document, .. }) => {
                client.phase = Phase::Working { held: Some(document), lock: client.lock };
                self.told |= document.marks;
            }
            (Purpose::Beat, Write::Lock { note: Some(note), .. }) => {
                client.phase = Phase::Working { held: client.held, lock: note.id };
            }
            _ => client.phase = Phase::Done,
        }
    }

    fn read(&mut self, bounds: &Bounds, n: usize) {
        match self.clients[n].phase {
            Phase::Unsure(request) => self.read_back(bounds, n, request),
            Phase::Loading if bounds.without == Without::LookAfterLoad => {
                self.clients[n].phase = Phase::Working { held: self.state, lock: self.clients[n].lock };
            }
            Phase::Loading => self.clients[n].phase = Phase::Loaded(self.state),
            Phase::Loaded(held) => {
                let ours = self.lock.is_some_and(|note| usize::from(note.holder) == n);
                let lock = self.clients[n].lock;
                self.clients[n].phase = if ours { Phase::Working { held, lock } } else { Phase::Stopped };
            }
            Phase::Fencing { of, read: None } if bounds.without == Without::LockFirst || bounds.without == Without::Check => {
                self.clients[n].phase = Phase::Fencing { of, read: Some(self.state) };
                self.fence(n, self.state);
            }
            Phase::Fencing { of, read: None } => self.clients[n].phase = Phase::Fencing { of, read: Some(self.state) },
            Phase::Fencing { read: Some(state), .. } => match self.lock {
                Some(note) if usize::from(note.holder) == n => self.fence(n, state),
                _ => self.clients[n].phase = Phase::Stopped,
            },
            _ => {}
        }
    }

    fn fence(&mut self, n: usize, state: Option<Document>) {
        let document = self.next(state, 0);
        self.send(n, Purpose::Fence, Write::State { base: state.map(|state| state.id), document });
    }

    /// What is there tells what became of a write.
    fn read_back(&mut self, bounds: &Bounds, n: usize, request: Request) {
        let (there, ours, base) = match request.write {
            Write::Lock { base, note } => (self.lock.map(|note| note.id), note.map(|note| note.id), base),
            Write::State { base, document } => (self.state.map(|state| state.id), Some(document.id), base),
        };
        if there == ours {
            return self.done(bounds, n, request);
        }
        let client = &mut self.clients[n];
        if there == base {
            if client.resends == 0 {
                client.phase = Phase::Stopped;
            } else {
                client.resends -= 1;
                client.phase = Phase::Waiting(request);
                self.post(request);
            }
            return;
        }
        let own = self.lock.filter(|note| usize::from(note.holder) == n).map(|note| note.id);
        let of = client.took_from.unwrap_or_default();
        match (request.purpose, own) {
            (Purpose::Acquire | Purpose::Take, _) => client.phase = Phase::Idle,
            (Purpose::Fence, _) => client.phase = Phase::Fencing { of, read: None },
            // A heartbeat of its own that was late.
            (Purpose::Beat, Some(lock)) => client.phase = Phase::Working { held: client.held, lock },
            (Purpose::Release, Some(lock)) => self.send(n, Purpose::Release, Write::Lock { base: Some(lock), note: None }),
            (Purpose::Save | Purpose::Beat | Purpose::Release, _) => client.phase = Phase::Stopped,
        }
    }
}
