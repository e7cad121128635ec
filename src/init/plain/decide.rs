//! What a server without a sidecar starts as: a pure function of what its members' servers say.

use std::net::IpAddr;
use std::time::Duration;

use crate::exit::Exit;
use crate::init::disk::{Data, OnDisk};
use crate::init::say;
use crate::init::watch::{Here, Sight};
use crate::observe::dns::Answer;
use crate::observe::info::{ServerInfo, ServerRole};
use crate::observe::redis::ServerError;
use crate::report::LinkState;
use crate::topology::Ordinal;

/// A member's server as it was last seen.
pub(super) type Seen = Sight<ServerInfo, ServerError>;

/// Everything that the decision rests on.
pub(super) struct World<'a> {
    /// Who and where this pod is.
    pub(super) here: &'a Here,
    /// What DNS says of this pod's own name.
    pub(super) own_name: Option<&'a Answer>,
    /// What this pod has on disk.
    pub(super) disk: &'a OnDisk,
    /// The other members; none for those that are being asked for the first time.
    pub(super) others: &'a [(Ordinal, Option<&'a Seen>)],
    /// The member beyond the last one expected.
    pub(super) beyond: (Ordinal, Option<&'a Seen>),
    /// What DNS says of the headless Service's name, which leads to all members.
    pub(super) service: Option<&'a Answer>,
    /// Whether `--replicas` says how many members there are.
    pub(super) is_counted: bool,
    /// The run id of this pod's own server, when one runs.
    pub(super) own_run_id: Option<&'a str>,
    /// How long members have been looked for.
    pub(super) looked_for: Duration,
    /// How long a name must be missing before pod-0 goes on without it.
    pub(super) discover: Duration,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start as the writable master.
    Lead,
    /// Start as a replica of this member.
    Follow(Ordinal, IpAddr),
    /// Look again.
    Wait {
        /// What for, and why.
        words: String,
        /// With what to end when the time is up.
        exit: Exit,
    },
}

fn wait(words: String, exit: Exit) -> Verdict {
    Verdict::Wait { words, exit }
}

/// A member whose server answered.
#[derive(Clone, Copy)]
struct Server<'a> {
    ordinal: Ordinal,
    address: IpAddr,
    all: &'a [IpAddr],
    info: &'a ServerInfo,
}

impl<'a> World<'a> {
    /// The servers that answered, each once: one that answers under two names is one server, and one
    /// with our own run id is ours.
    fn servers(&self) -> Vec<Server<'a>> {
        let mut servers: Vec<Server<'a>> = Vec::new();
        for (ordinal, sight) in self.others {
            if let Some(Sight::Seen { address, all, what }) = sight
                && Some(what.run_id.as_str()) != self.own_run_id
                && servers.iter().all(|s| s.info.run_id != what.run_id)
            {
                servers.push(Server {
                    ordinal: *ordinal,
                    address: *address,
                    all,
                    info: what,
                });
            }
        }
        servers
    }

    fn pod(&self, ordinal: Ordinal) -> String {
        self.here.pod(ordinal)
    }

    /// The member at the address that a server follows.
    fn member_at(&self, servers: &[Server<'a>], host: &str) -> Option<Server<'a>> {
        let address = host.parse::<IpAddr>().ok();
        servers.iter().copied().find(|server| {
            let name = self.here.identity.stable_name(server.ordinal);
            address.is_some_and(|a| {
                server
                    .all
                    .iter()
                    .any(|b| a.to_canonical() == b.to_canonical())
            }) || host
                .trim_end_matches('.')
                .eq_ignore_ascii_case(name.trim_end_matches('.'))
        })
    }

    fn is_own(&self, host: &str) -> bool {
        let name = self
            .here
            .identity
            .stable_name(self.here.identity.pod.ordinal());
        host.trim_end_matches('.')
            .eq_ignore_ascii_case(name.trim_end_matches('.'))
            || host
                .parse::<IpAddr>()
                .is_ok_and(|a| self.here.own.contains(&a.to_canonical()))
    }
}

/// Decides; the rows of the table are in its tests.
pub(super) fn decide(world: &World<'_>) -> Verdict {
    let servers = world.servers();
    let masters: Vec<_> = servers
        .iter()
        .copied()
        .filter(|s| s.info.role == ServerRole::Master)
        .collect();
    match masters.as_slice() {
        [] => {}
        [master] => return follow(world, *master),
        [first, second, ..] => {
            let (first, second) = (world.pod(first.ordinal), world.pod(second.ordinal));
            let words = format!(
                "{first} and {second} are both masters: choosing one could lose what the other has; make the one that may lose its data a replica of the other (REPLICAOF)"
            );
            return wait(words, Exit::RefusedForData);
        }
    }
    if world.here.identity.pod.ordinal() == Ordinal::ZERO {
        lead(world, &servers)
    } else {
        wait_for_master(world, &servers)
    }
}

/// There is one live master. It is followed unless what this pod has on disk would be lost.
fn follow(world: &World<'_>, master: Server<'_>) -> Verdict {
    let pod = world.pod(master.ordinal);
    let (disk, info) = (world.disk, master.info);
    // A follower, unlike a master, can always wait: while pod-0 cannot be asked, it may be the one
    // that the others should follow.
    if let Some(unsure) = unsure_of_pod_0(world, master.ordinal) {
        return unsure;
    }
    if info.loading {
        let words = format!("{pod} is the master and reads its data");
        return wait(words, Exit::WaitedInVain);
    }
    let same_history = disk.id.is_some() && disk.id == info.id;
    if same_history && disk.offset > Some(info.offset) {
        let words = format!(
            "{pod} is the master, but has less of the same history than this pod has on disk: following it would lose the difference; restore {pod} from this pod's data, or delete this pod's data if it may be lost"
        );
        return wait(words, Exit::RefusedForData);
    }
    if info.keys == 0 && disk.data != Data::None && !same_history {
        let words = format!(
            "{pod} is the master and has no data, but this pod has data on disk: following it would wipe that; restore {pod}'s data, or delete this pod's if it may be lost"
        );
        return wait(words, Exit::RefusedForData);
    }
    Verdict::Follow(master.ordinal, master.address)
}

fn unsure_of_pod_0(world: &World<'_>, master: Ordinal) -> Option<Verdict> {
    let (_, sight) = world.others.iter().find(|(o, _)| *o == Ordinal::ZERO)?;
    if master == Ordinal::ZERO || matches!(sight, Some(Sight::Seen { .. })) {
        return None;
    }
    unsure(world, Ordinal::ZERO, *sight)
}

/// Why it is not known what a member is: it may be a master. None when it is known.
fn unsure(world: &World<'_>, ordinal: Ordinal, sight: Option<&Seen>) -> Option<Verdict> {
    let pod = world.pod(ordinal);
    let (words, exit) = match sight {
        None => (format!("{pod}: it is being asked"), Exit::WaitedInVain),
        Some(Sight::NotAPeer(address)) => (
            say::not_a_peer(world.here, ordinal, *address),
            Exit::WaitedInVain,
        ),
        Some(Sight::Unnamed(answer @ Answer::Unknown(_))) => (
            say::unnamed(world.here, ordinal, answer, world.own_name),
            Exit::WaitedInVain,
        ),
        Some(Sight::Unnamed(answer)) if world.looked_for < world.discover => (
            say::unnamed(world.here, ordinal, answer, world.own_name),
            Exit::WaitedInVain,
        ),
        Some(Sight::Failed(error @ (ServerError::Login { .. } | ServerError::Tls { .. }))) => (
            format!("{pod}: {}", say::one_line(error)),
            Exit::ServerRefuses,
        ),
        Some(Sight::Failed(
            error @ (ServerError::Silent { .. }
            | ServerError::Broken { .. }
            | ServerError::Answered { .. }
            | ServerError::NotRedis { .. }
            | ServerError::Info { .. }),
        )) => (
            format!("{pod}: {}", say::one_line(error)),
            Exit::WaitedInVain,
        ),
        Some(
            Sight::Unnamed(_) | Sight::Failed(ServerError::Refused { .. }) | Sight::Seen { .. },
        ) => return None,
    };
    Some(wait(words, exit))
}

/// This is pod-0, and nobody is seen to be the master.
fn lead(world: &World<'_>, servers: &[Server<'_>]) -> Verdict {
    if let Some(unsure) = unsure_of_the_number(world) {
        return unsure;
    }
    for (ordinal, sight) in world.others {
        if let Some(unsure) = unsure(world, *ordinal, *sight) {
            return unsure;
        }
    }
    for server in servers {
        let pod = world.pod(server.ordinal);
        let info = server.info;
        if info.loading {
            let words = format!("{pod} reads its data; what it has is not known yet");
            return wait(words, Exit::WaitedInVain);
        }
        if let ServerRole::Replica { host, port, link } = &info.role
            && *link != LinkState::Down
            && !world.is_own(host)
            && world.member_at(servers, host).is_none()
        {
            let words = format!(
                "{pod} follows a live master at {host}:{port}, which is not the address of any member that answers"
            );
            return wait(words, Exit::WaitedInVain);
        }
        if info.keys > 0 && world.disk.data != Data::Some {
            let words = format!(
                "{pod} has {} keys and this pod has no data: starting it as the master would wipe them; promote {pod} by hand (REPLICAOF NO ONE), or restore this pod's data",
                info.keys
            );
            return wait(words, Exit::RefusedForData);
        }
        let same_history =
            world.disk.id.is_some() && [&info.id, &info.id2].contains(&&world.disk.id);
        if same_history && world.disk.offset < Some(info.offset) {
            let words = format!(
                "{pod} has more of the same history than this pod has on disk: starting this pod as the master would lose the difference; promote {pod} by hand (REPLICAOF NO ONE)"
            );
            return wait(words, Exit::RefusedForData);
        }
    }
    Verdict::Lead
}

/// Whether there may be members that nobody has looked for yet.
fn unsure_of_the_number(world: &World<'_>) -> Option<Verdict> {
    let words = |words: &str| Some(wait(words.to_owned(), Exit::WaitedInVain));
    match world.service {
        None => return words("the headless Service is being looked up"),
        Some(Answer::Unknown(why)) => {
            return words(&format!(
                "the headless Service {} could not be looked up, so members may be missed: {why}",
                world.here.identity.service_name().trim_end_matches('.')
            ));
        }
        Some(Answer::Addresses(_) | Answer::Missing | Answer::NoAddress) => {}
    }
    match world.beyond {
        (_, Some(Sight::Unnamed(Answer::Missing | Answer::NoAddress)))
            if world.is_counted || world.looked_for >= world.discover =>
        {
            None
        }
        (_, Some(Sight::Unnamed(Answer::Missing | Answer::NoAddress))) => words(
            "other members, for the time of --discover, since there is no --replicas to say how many there are",
        ),
        (ordinal, sight) => unsure(world, ordinal, sight),
    }
}

/// Nobody is seen to be the master, and this pod is not to become it: pod-0 is asked first, and whom
/// it follows, and so on.
fn wait_for_master(world: &World<'_>, servers: &[Server<'_>]) -> Verdict {
    let Some((_, sight)) = world.others.iter().find(|(o, _)| *o == Ordinal::ZERO) else {
        return wait("pod-0 is not known".to_owned(), Exit::WaitedInVain);
    };
    if let Some(unsure) = unsure(world, Ordinal::ZERO, *sight) {
        return unsure;
    }
    let words = match sight {
        Some(Sight::Unnamed(answer)) => {
            say::unnamed(world.here, Ordinal::ZERO, answer, world.own_name)
        }
        Some(Sight::Failed(error)) => {
            format!("{}: {}", world.pod(Ordinal::ZERO), say::one_line(error))
        }
        Some(Sight::Seen { .. } | Sight::NotAPeer(_)) | None => chain(world, servers),
    };
    wait(words, Exit::WaitedInVain)
}

/// Where the chain from pod-0 ends, given that it ends at no master.
fn chain(world: &World<'_>, servers: &[Server<'_>]) -> String {
    let mut trail: Vec<Ordinal> = Vec::new();
    let mut at = servers.iter().copied().find(|s| s.ordinal == Ordinal::ZERO);
    while let Some(server) = at {
        let pod = world.pod(server.ordinal);
        if trail.contains(&server.ordinal) {
            let names: Vec<_> = trail.iter().map(|o| world.pod(*o)).collect();
            return format!(
                "{} follows {pod}: nobody is the master; promote the one with the best data (REPLICAOF NO ONE)",
                names.join(" follows ")
            );
        }
        trail.push(server.ordinal);
        let ServerRole::Replica { host, port, .. } = &server.info.role else {
            return format!(
                "{pod} is fenced, as only a sidecar does it: has this set sidecars? Then leave out --without-sidecar"
            );
        };
        if world.is_own(host) {
            return format!(
                "{pod} follows this pod ({host}:{port}), which is not the master; promote one by hand (REPLICAOF NO ONE)"
            );
        }
        at = world.member_at(servers, host);
        if at.is_none() {
            return format!(
                "{pod} follows {host}:{port}, which is not the address of any member that answers"
            );
        }
    }
    format!(
        "{} answers as this pod's own server",
        world.pod(Ordinal::ZERO)
    )
}

#[cfg(test)]
mod tests;
