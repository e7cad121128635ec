//! Looking at all members at once, each at its own pace.
//!
//! Owns who is expected, one task per member that asks DNS and then the member, and the latest
//! sight of each. Judges nothing. A member that does not answer delays nobody but itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::observe::dns::{Answer, Dns, Family};
use crate::retry::{RESOLVED_CAP, Retry, UNRESOLVED_CAP};
use crate::topology::{Identity, Ordinal, can_be_a_peer};

/// The first delay before a member is asked again.
const FIRST_DELAY: Duration = Duration::from_millis(10);

/// More members than a set can have: DNS that answers every name must not make us ask for ever.
const MOST: u32 = 1000;

/// Who and where this pod is.
#[derive(Clone)]
pub struct Here {
    /// The pod and its set.
    pub identity: Identity,
    /// The DNS servers.
    pub dns: Dns,
    /// The pod's addresses, the deciding one first.
    pub own: Vec<IpAddr>,
}

impl Here {
    /// The family in which members are reached when they have both.
    pub fn family(&self) -> Family {
        self.own.first().map_or(Family::V4, |a| Family::of(*a))
    }

    /// The name of a member's pod.
    pub fn pod(&self, ordinal: Ordinal) -> String {
        self.identity.pod.sibling(ordinal)
    }
}

/// The latest sight of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight<T, E> {
    /// DNS gives no address for its name: why.
    Unnamed(Answer),
    /// Its name leads to this pod, to the loopback or to nobody.
    NotAPeer(IpAddr),
    /// It did not answer as it should.
    Failed(E),
    /// It answered.
    Seen {
        /// At this address, which is among `all`.
        address: IpAddr,
        /// All addresses of its name.
        all: Vec<IpAddr>,
        /// What it said.
        what: T,
    },
}

enum Event<T, E> {
    Member(Ordinal, Sight<T, E>),
    Service(Answer),
    OwnName(Answer),
}

/// All members but this one, as they were last seen.
pub struct Watch<T, E, F> {
    here: Arc<Here>,
    ask: F,
    expected: u32,
    watched: u32,
    /// The latest sight of each member that was looked at once at least.
    pub sights: BTreeMap<Ordinal, Sight<T, E>>,
    /// What DNS says of the headless Service's name.
    pub service: Option<Answer>,
    /// What DNS says of this pod's own name.
    pub own_name: Option<Answer>,
    events: mpsc::UnboundedReceiver<Event<T, E>>,
    sender: mpsc::UnboundedSender<Event<T, E>>,
    tasks: JoinSet<()>,
}

impl<T, E, F, A> Watch<T, E, F>
where
    T: Send + 'static,
    E: Send + 'static,
    F: Fn(Ordinal, IpAddr) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<T, E>> + Send + 'static,
{
    /// Begins to look. `replicas` is the least number of members; `ask` asks one at one address,
    /// within a time limit of its own.
    pub fn start(here: Here, replicas: Option<u32>, ask: F) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let own = here.identity.pod.ordinal().0;
        let mut watch = Self {
            here: Arc::new(here),
            ask,
            expected: replicas.unwrap_or(0).max(own.saturating_add(1)),
            watched: 0,
            sights: BTreeMap::new(),
            service: None,
            own_name: None,
            events,
            sender,
            tasks: JoinSet::new(),
        };
        let identity = &watch.here.identity;
        let service = identity.service_name();
        let own_name = identity.stable_name(identity.pod.ordinal());
        watch.follow_name(service, Event::Service);
        watch.follow_name(own_name, Event::OwnName);
        watch.watch_expected();
        watch
    }

    /// The members that are expected, this one left out, and the latest sight of each; none for
    /// those that are still being asked for the first time.
    pub fn others(&self) -> Vec<(Ordinal, Option<&Sight<T, E>>)> {
        let own = self.here.identity.pod.ordinal();
        (0..self.expected)
            .map(Ordinal)
            .filter(|o| *o != own)
            .map(|o| (o, self.sights.get(&o)))
            .collect()
    }

    /// The member beyond the last one expected, and the latest sight of it: it is missing where all
    /// members are known.
    pub fn beyond(&self) -> (Ordinal, Option<&Sight<T, E>>) {
        let ordinal = Ordinal(self.expected);
        (ordinal, self.sights.get(&ordinal))
    }

    /// Waits for the next sight, or until the time is up, and takes in all that have come.
    pub async fn next(&mut self, limit: Duration) {
        if let Ok(Some(event)) = timeout(limit, self.events.recv()).await {
            self.take(event);
        }
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
        self.watch_expected();
    }

    fn take(&mut self, event: Event<T, E>) {
        match event {
            Event::Member(ordinal, sight) => {
                // The member beyond the last expected one is there after all: expect the next.
                if !matches!(sight, Sight::Unnamed(_)) {
                    self.expect(ordinal.0.saturating_add(1));
                }
                self.sights.insert(ordinal, sight);
            }
            Event::Service(answer) => {
                if let Answer::Addresses(all) = &answer {
                    let of = |family| all.iter().filter(|a| Family::of(**a) == family).count();
                    let members = of(Family::V4).max(of(Family::V6));
                    self.expect(u32::try_from(members).unwrap_or(MOST));
                }
                self.service = Some(answer);
            }
            Event::OwnName(answer) => self.own_name = Some(answer),
        }
    }

    fn expect(&mut self, members: u32) {
        self.expected = self.expected.max(members.min(MOST));
    }

    /// One task for each expected member, and one for the member beyond the last.
    fn watch_expected(&mut self) {
        let own = self.here.identity.pod.ordinal();
        while self.watched <= self.expected {
            let ordinal = Ordinal(self.watched);
            self.watched += 1;
            if ordinal != own {
                let (here, ask, sender) =
                    (self.here.clone(), self.ask.clone(), self.sender.clone());
                self.tasks.spawn(member(here, ordinal, ask, sender));
            }
        }
    }

    fn follow_name(&mut self, name: String, event: fn(Answer) -> Event<T, E>) {
        let (here, sender) = (self.here.clone(), self.sender.clone());
        self.tasks.spawn(async move {
            let mut retry = Retry::new(UNRESOLVED_CAP / 4, UNRESOLVED_CAP);
            loop {
                let answer = here.dns.lookup(&name, here.family()).await;
                if sender.send(event(answer)).is_err() {
                    return;
                }
                sleep(retry.next_delay()).await;
            }
        });
    }
}

/// Asks one member again and again: with growing delays while nothing changes, and at a quicker
/// pace from the moment that its name resolves.
async fn member<T, E, F, A>(
    here: Arc<Here>,
    ordinal: Ordinal,
    ask: F,
    sender: mpsc::UnboundedSender<Event<T, E>>,
) where
    F: Fn(Ordinal, IpAddr) -> A,
    A: Future<Output = Result<T, E>>,
{
    let name = here.identity.stable_name(ordinal);
    let mut retry = Retry::new(FIRST_DELAY, UNRESOLVED_CAP);
    let mut was_named = false;
    loop {
        let sight = match here.dns.lookup(&name, here.family()).await {
            Answer::Addresses(all) => at(&here, ordinal, all, &ask).await,
            no @ (Answer::Missing | Answer::NoAddress | Answer::Unknown(_)) => Sight::Unnamed(no),
        };
        let has_name = !matches!(sight, Sight::Unnamed(_));
        if has_name != was_named {
            retry.reset();
            retry.set_cap(if has_name {
                RESOLVED_CAP
            } else {
                UNRESOLVED_CAP
            });
            was_named = has_name;
        }
        if sender.send(Event::Member(ordinal, sight)).is_err() {
            return;
        }
        sleep(retry.next_delay()).await;
    }
}

/// Asks a member at each of its addresses until one answers.
async fn at<T, E, F, A>(here: &Here, ordinal: Ordinal, all: Vec<IpAddr>, ask: &F) -> Sight<T, E>
where
    F: Fn(Ordinal, IpAddr) -> A,
    A: Future<Output = Result<T, E>>,
{
    let mut sight = None;
    for address in all.iter().copied() {
        if !can_be_a_peer(address, &here.own) {
            // A name that leads here, too, is a mistake in DNS: none of its addresses is trusted.
            return Sight::NotAPeer(address);
        }
        match ask(ordinal, address).await {
            Ok(what) => {
                return Sight::Seen { address, all, what };
            }
            Err(error) => {
                sight.get_or_insert(Sight::Failed(error));
            }
        }
    }
    sight.unwrap_or(Sight::Unnamed(Answer::NoAddress))
}
