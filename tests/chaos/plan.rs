//! Which faults there are, and when: a seed gives the same plan again. Pure.
//!
//! A plan is rounds without end. In a round faults begin one after the other, go on for a while, and are
//! mended; no two of them touch the same thing. Volumes are lost one at a time, in a set that is whole.

use std::time::Duration;

use crate::chance::Chance;

/// How many members there are.
pub(crate) const MEMBERS: usize = 3;

/// Who grants the master role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Ordinal,
    Lease,
}

/// What of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Server,
    Sidecar,
    Pod,
}

/// How DNS fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dns {
    Errs,
    SaysNothing,
    IsSlow,
}

/// How the Kubernetes API fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Stops,
    Refuses,
    Errs(u16),
    IsSlow,
    LosesAnswers,
}

/// What goes wrong, or is done to the set, until it is mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL; started again when it is mended.
    Dies(Part, usize),
    /// SIGSTOP.
    Hangs(Part, usize),
    /// Ends, and is started at once: the server in good order, everything else by SIGKILL.
    Restarts(Part, usize),
    /// The pod is deleted, without its preStop hook, and comes back with another address.
    Moves(usize),
    /// The pod's node dies, and its volume is gone.
    LosesVolume(usize),
    /// The pod's preStop hook is run, the pod is deleted, and comes back.
    IsReplaced(usize),
    /// `podzero failover` at the master, to this member or to whoever is best.
    HandsOver(Option<usize>),
    Dns(Dns),
    /// No packet goes between this member and the others.
    IsCutOff(usize),
    /// Packets from the first to the second vanish.
    IsCutOneWay(usize, usize),
    /// One member does not reach the Kubernetes API.
    IsCutFromApi(usize),
    /// No packet goes between this member and the others, nor the Kubernetes API.
    IsAlone(usize),
    Api(Api),
}

/// Something that two faults of a round may not both touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Server(usize),
    Sidecar(usize),
    /// All that is between members: what is cut in two ways is not mended in two.
    Network,
    Names,
    Api,
    Role,
}

impl Fault {
    /// Its kind, for the table.
    pub(crate) fn kind(self) -> String {
        let of = |part: Part| match part {
            Part::Server => "a server",
            Part::Sidecar => "a sidecar",
            Part::Pod => "both of a pod",
        };
        match self {
            Self::Dies(part, _) => format!("{} killed", of(part)),
            Self::Hangs(part, _) => format!("{} stopped for a while", of(part)),
            Self::Restarts(part, _) => format!("{} restarted", of(part)),
            Self::Moves(_) => "a pod moved to another address".to_owned(),
            Self::LosesVolume(_) => "a volume lost".to_owned(),
            Self::IsReplaced(_) => "a pod replaced, with its hook".to_owned(),
            Self::HandsOver(None) => "podzero failover".to_owned(),
            Self::HandsOver(Some(_)) => "podzero failover --to".to_owned(),
            Self::Dns(_) => "DNS failing".to_owned(),
            Self::IsCutOff(_) => "a member cut off".to_owned(),
            Self::IsCutOneWay(..) => "a member cut off, one way".to_owned(),
            Self::IsCutFromApi(_) => "a member cut from the API".to_owned(),
            Self::IsAlone(_) => "a member cut off, also from the API".to_owned(),
            Self::Api(_) => "the API failing".to_owned(),
        }
    }

    fn hands_over(self) -> bool {
        matches!(self, Self::HandsOver(_))
    }

    fn hangs(self) -> bool {
        matches!(self, Self::Hangs(..))
    }

    fn touches(self) -> Vec<Thing> {
        let of = |part: Part, whom: usize| match part {
            Part::Server => vec![Thing::Server(whom)],
            Part::Sidecar => vec![Thing::Sidecar(whom)],
            Part::Pod => vec![Thing::Server(whom), Thing::Sidecar(whom)],
        };
        match self {
            Self::Dies(part, whom) | Self::Hangs(part, whom) | Self::Restarts(part, whom) => {
                of(part, whom)
            }
            // Its addresses are what a cut is about.
            Self::Moves(whom) => [of(Part::Pod, whom), vec![Thing::Network]].concat(),
            Self::LosesVolume(_) => (0..MEMBERS).flat_map(|m| of(Part::Pod, m)).collect(),
            // Two hooks at once may find nobody to hand over to.
            Self::IsReplaced(whom) => [of(Part::Pod, whom), vec![Thing::Role]].concat(),
            Self::HandsOver(_) => vec![Thing::Role],
            Self::Dns(_) => vec![Thing::Names],
            Self::IsCutOff(_) | Self::IsCutOneWay(..) => vec![Thing::Network],
            Self::IsCutFromApi(_) | Self::Api(_) => vec![Thing::Api],
            Self::IsAlone(_) => vec![Thing::Network, Thing::Api],
        }
    }

    fn meets(self, other: Self) -> bool {
        let theirs = other.touches();
        self.touches().iter().any(|thing| theirs.contains(thing))
    }
}

/// Faults, each with the time before it, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) faults: Vec<(Duration, Fault)>,
    /// How long they last.
    pub(crate) holds: Duration,
    /// Between two of them that are mended.
    pub(crate) between: Duration,
    /// Whether the set is waited for before the next round.
    pub(crate) settles: bool,
}

/// Rounds without end.
#[derive(Debug)]
pub(crate) struct Plan {
    chance: Chance,
    by: By,
    /// The set is whole when the next round begins.
    settled: bool,
}

impl Plan {
    pub(crate) fn new(seed: u64, by: By) -> Self {
        Self {
            chance: Chance::new(seed),
            by,
            settled: true,
        }
    }

    fn part(&mut self) -> Part {
        match self.chance.of(0, 3) {
            0 => Part::Server,
            1 => Part::Sidecar,
            _ => Part::Pod,
        }
    }

    fn fault(&mut self) -> Fault {
        let whom = self.chance.which(MEMBERS);
        let other = (whom + 1 + self.chance.which(MEMBERS - 1)) % MEMBERS;
        let below = match self.by {
            By::Ordinal => 21,
            By::Lease => 28,
        };
        match self.chance.of(0, below) {
            0..3 => Fault::Dies(self.part(), whom),
            3..5 => Fault::Hangs(self.part(), whom),
            5..7 => Fault::Restarts(self.part(), whom),
            7 => Fault::Moves(whom),
            8 => Fault::LosesVolume(whom),
            9..11 => Fault::IsReplaced(whom),
            11..13 => Fault::HandsOver(None),
            13..17 => Fault::HandsOver(Some(whom)),
            17 => Fault::Dns(match self.chance.of(0, 3) {
                0 => Dns::Errs,
                1 => Dns::SaysNothing,
                _ => Dns::IsSlow,
            }),
            18..20 => Fault::IsCutOff(whom),
            20 => Fault::IsCutOneWay(whom, other),
            21 => Fault::IsCutFromApi(whom),
            22..25 => Fault::IsAlone(whom),
            _ => Fault::Api(match self.chance.of(0, 7) {
                0 => Api::Stops,
                1 => Api::Refuses,
                2 => Api::Errs(409),
                3 => Api::Errs(429),
                4 => Api::Errs(500),
                5 => Api::IsSlow,
                _ => Api::LosesAnswers,
            }),
        }
    }

    fn round(&mut self) -> Round {
        let mut faults: Vec<(Duration, Fault)> = Vec::new();
        for _ in 0..=self.chance.of(0, 3) {
            let longest = if self.chance.one_in(2) { 60 } else { 400 };
            let (after, fault) = (self.millis(0, longest), self.fault());
            let may = self.settled || !matches!(fault, Fault::LosesVolume(_));
            if may && !faults.iter().any(|(_, other)| other.meets(fault)) {
                faults.push((after, fault));
            }
        }
        // Whoever was stopped for long knows only what was, for a moment: nothing that takes its time is
        // done to others meanwhile. They are mended from the last to the first.
        // And a handover begins while there is a master, and is struck by what follows.
        faults.sort_by_key(|(_, fault)| (!fault.hands_over(), fault.hangs()));
        let holds = match self.chance.of(0, 10) {
            0..4 => self.millis(0, 400),
            4..8 => self.millis(400, 3_000),
            8 => self.millis(4_000, 10_000),
            _ => self.holds_long(&faults),
        };
        Round {
            faults,
            holds,
            between: self.millis(0, 400),
            settles: !self.chance.one_in(3),
        }
    }

    /// Longer than a ready replica may be behind; whoever hangs does so for less.
    fn holds_long(&mut self, faults: &[(Duration, Fault)]) -> Duration {
        if faults.iter().any(|(_, fault)| fault.hangs()) {
            self.millis(4_000, 8_000)
        } else {
            self.millis(28_000, 33_000)
        }
    }

    fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.chance.of(low, high))
    }
}

impl Iterator for Plan {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        loop {
            let round = self.round();
            if !round.faults.is_empty() {
                self.settled = round.settles;
                return Some(round);
            }
        }
    }
}

#[test]
fn a_seed_gives_the_same_plan_and_another_one_another() {
    let plan = |seed| Plan::new(seed, By::Lease).take(50).collect::<Vec<_>>();
    assert_eq!(plan(7), plan(7));
    assert_ne!(plan(7), plan(8));
}

#[test]
fn every_kind_of_fault_comes_and_only_those_that_may() {
    for by in [By::Ordinal, By::Lease] {
        let mut kinds = std::collections::BTreeSet::new();
        let mut settled = true;
        for round in Plan::new(1, by).take(3_000) {
            for (at, (_, fault)) in round.faults.iter().enumerate() {
                kinds.insert(fault.kind());
                let lost = matches!(fault, Fault::LosesVolume(_));
                assert!(settled || !lost, "a volume is lost in {round:?}");
                let others = &round.faults[at + 1..];
                assert!(others.iter().all(|(_, o)| !o.meets(*fault)), "{round:?}");
            }
            settled = round.settles;
        }
        let expected = if by == By::Lease { 20 } else { 17 };
        assert_eq!(kinds.len(), expected, "{by:?}: {kinds:?}");
    }
}
