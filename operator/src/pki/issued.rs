//! What is trusted and what servers show where an issuer of the user issues: one step at a time. Pure.
//!
//! Nothing has to be remembered: what servers show stands in their Secrets, with the authorities that are trusted (the
//! bundle), and what the issuer made stands in its Secrets, with its authority.
//!
//! | the issuer's authority | trusted | a server shows another certificate |
//! | --- | --- | --- |
//! | is in the bundle | the bundle | at once, if the authority of the one before vouches for it, too |
//! | is another one | bundle and authority | when every pod was started with both |
//! | vouches for everything that is shown | the authority alone, once every pod was started with both and every server was seen to show it | |
//!
//! The authority of the operator is in the bundle of a hub that had none other before, so to name an issuer for a hub that
//! runs is the same.

use std::collections::{BTreeMap, BTreeSet};

use super::Server;

/// A certificate, by the authorities (PEM) that vouch for it now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vouched(pub(super) BTreeSet<String>);

impl Vouched {
    fn by_any(&self, authorities: &[String]) -> bool {
        authorities.iter().any(|authority| self.0.contains(authority))
    }
}

/// How a server stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The authorities in its Secret.
    pub(super) bundle: Vec<String>,
    /// What it shows.
    pub(super) shown: Option<Vouched>,
    /// What the issuer made that can be shown.
    pub(super) issued: Option<Vouched>,
    /// The authorities that came with it.
    pub(super) authorities: Vec<String>,
    /// Whether both are the same certificate.
    pub(super) is_shown: bool,
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// What is trusted from now on.
    pub(super) trust: Vec<String>,
    /// The servers that shall show what was issued.
    pub(super) take: BTreeSet<Server>,
}

/// The authorities that are trusted while one may be replaced by another: those of the bundles, then those of the issuer.
pub(super) fn during(standings: &BTreeMap<Server, Standing>) -> Vec<String> {
    let bundles = standings.values().flat_map(|standing| &standing.bundle);
    let mut all: Vec<String> = Vec::new();
    for authority in bundles.chain(wanted(standings)) {
        if !all.contains(authority) {
            all.push(authority.clone());
        }
    }
    all
}

/// Those of the issuer.
fn wanted(standings: &BTreeMap<Server, Standing>) -> impl Iterator<Item = &String> {
    let usable = standings.values().filter(|standing| standing.issued.is_some());
    usable.flat_map(|standing| &standing.authorities)
}

/// Whether everything that is shown is vouched for by the issuer alone, so that others need not be trusted any more.
pub(super) fn may_retire(standings: &BTreeMap<Server, Standing>) -> bool {
    let wanted: Vec<String> = wanted(standings).cloned().collect();
    during(standings).len() > wanted.iter().collect::<BTreeSet<_>>().len()
        && standings
            .values()
            .all(|standing| standing.shown.as_ref().is_some_and(|shown| shown.by_any(&wanted)))
}

/// The next step. `all_trust`: every pod was started with [`during`]. `all_renewed`: every server was seen to show what its
/// Secret holds; it is asked for only if [`may_retire`].
pub(super) fn decide(standings: &BTreeMap<Server, Standing>, all_trust: bool, all_renewed: bool) -> Decision {
    let mut trust = during(standings);
    let takes = |standing: &Standing| match (&standing.issued, &standing.shown) {
        (Some(_), None) => true,
        (Some(issued), Some(shown)) => {
            let same_authority = issued.0.intersection(&shown.0).next().is_some();
            !standing.is_shown && (same_authority || all_trust)
        }
        (None, _) => false,
    };
    let take = standings.iter().filter(|(_, standing)| takes(standing));
    let take = take.map(|(server, _)| *server).collect();
    if all_trust && all_renewed && may_retire(standings) {
        let wanted: BTreeSet<&String> = wanted(standings).collect();
        trust.retain(|authority| wanted.contains(authority));
    }
    Decision { trust, take }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERVERS: [Server; 2] = [Server::Redis, Server::MongoDb];
    const PODS: usize = 3;

    /// A certificate: its number, and the authority that issued it.
    type Certificate = (u32, u32);

    #[derive(Clone, Debug, Default)]
    struct Pod {
        trusts: Vec<String>,
        shows: Option<Certificate>,
    }

    /// A hub without its Secrets' contents: authorities are numbers, as is what they issued.
    #[derive(Clone, Debug, Default)]
    struct Hub {
        authority: u32,
        made: u32,
        issued: BTreeMap<Server, Certificate>,
        secrets: BTreeMap<Server, (Certificate, Vec<String>)>,
        template: Vec<String>,
        pods: BTreeMap<(Server, usize), Pod>,
    }

    #[derive(Clone, Debug)]
    enum Happening {
        Reconcile,
        Issue(usize),
        Replace,
        Restart(usize, usize),
        Reload(usize, usize),
    }

    fn vouched((_, by): Certificate) -> Vouched {
        Vouched([by.to_string()].into())
    }

    impl Hub {
        fn standings(&self) -> BTreeMap<Server, Standing> {
            let standing = |server: Server| {
                let (secret, issued) = (self.secrets.get(&server), self.issued.get(&server));
                let standing = Standing {
                    bundle: secret.map(|(_, bundle)| bundle.clone()).unwrap_or_default(),
                    shown: secret.map(|(shown, _)| vouched(*shown)),
                    issued: issued.map(|issued| vouched(*issued)),
                    authorities: issued.map(|(_, by)| by.to_string()).into_iter().collect(),
                    is_shown: secret.map(|(shown, _)| shown) == issued,
                };
                (server, standing)
            };
            SERVERS.map(standing).into()
        }

        fn reconcile(&mut self) {
            let standings = self.standings();
            let during = during(&standings);
            let all_trust = self.template == during && self.pods.values().all(|pod| pod.trusts == during);
            let all_renewed = self
                .pods
                .iter()
                .all(|((server, _), pod)| self.secrets.get(server).map(|(shown, _)| *shown) == pod.shows);
            let decision = decide(&standings, all_trust, all_renewed);
            for server in SERVERS {
                let kept = self.secrets.get(&server).map(|(shown, _)| *shown);
                let taken = self
                    .issued
                    .get(&server)
                    .filter(|_| decision.take.contains(&server));
                if let Some(shown) = taken.copied().or(kept) {
                    self.secrets.insert(server, (shown, decision.trust.clone()));
                }
            }
            self.template = decision.trust;
        }

        fn happen(&mut self, happening: &Happening) {
            match *happening {
                Happening::Reconcile => self.reconcile(),
                Happening::Issue(server) => {
                    self.made += 1;
                    self.issued.insert(SERVERS[server], (self.made, self.authority));
                }
                Happening::Replace => self.authority += 1,
                Happening::Restart(server, pod) => {
                    let server = SERVERS[server];
                    // A pod does not start without its Secret.
                    if let Some((shown, _)) = self.secrets.get(&server) {
                        let pod = self.pods.entry((server, pod)).or_default();
                        (pod.trusts, pod.shows) = (self.template.clone(), Some(*shown));
                    }
                }
                Happening::Reload(server, pod) => {
                    let shown = self.secrets.get(&SERVERS[server]).map(|(shown, _)| *shown);
                    if let Some(pod) = self.pods.get_mut(&(SERVERS[server], pod)) {
                        pod.shows = shown;
                    }
                }
            }
        }

        fn stranger(&self) -> Option<(&Pod, Certificate)> {
            let shown = || self.pods.values().filter_map(|pod| pod.shows);
            self.pods.values().find_map(|client| {
                let stranger = shown().find(|(_, by)| !client.trusts.contains(&by.to_string()))?;
                Some((client, stranger))
            })
        }
    }

    fn happening() -> impl Strategy<Value = Happening> {
        prop_oneof![
            4 => Just(Happening::Reconcile),
            2 => (0..SERVERS.len()).prop_map(Happening::Issue),
            1 => Just(Happening::Replace),
            4 => (0..SERVERS.len(), 0..PODS).prop_map(|(server, pod)| Happening::Restart(server, pod)),
            3 => (0..SERVERS.len(), 0..PODS).prop_map(|(server, pod)| Happening::Reload(server, pod)),
        ]
    }

    /// A hub that has its first certificates, as no pod starts before.
    fn begun() -> Hub {
        let mut hub = Hub::default();
        for server in 0..SERVERS.len() {
            hub.happen(&Happening::Issue(server));
        }
        hub.reconcile();
        hub
    }

    proptest! {
        #[test]
        fn no_client_meets_a_server_that_it_does_not_know(
            happenings in prop::collection::vec(happening(), 0..150),
        ) {
            let mut hub = begun();
            for (index, happening) in happenings.iter().enumerate() {
                hub.happen(happening);
                prop_assert!(hub.stranger().is_none(), "after {} {:?}: {:?}", index, happening, hub);
            }
        }

        #[test]
        fn in_the_end_what_was_issued_is_shown_and_its_authority_alone_is_trusted(
            happenings in prop::collection::vec(happening(), 0..60),
        ) {
            let mut hub = begun();
            for happening in &happenings {
                hub.happen(happening);
            }
            (0..SERVERS.len()).for_each(|server| hub.happen(&Happening::Issue(server)));
            for _ in 0..6 {
                hub.reconcile();
                for (server, pod) in (0..SERVERS.len()).flat_map(|server| (0..PODS).map(move |pod| (server, pod))) {
                    hub.happen(&Happening::Restart(server, pod));
                }
            }
            prop_assert_eq!(during(&hub.standings()), vec![hub.authority.to_string()]);
            prop_assert!(hub.pods.iter().all(|((server, _), pod)| pod.shows == hub.issued.get(server).copied()));
            prop_assert!(hub.pods.values().all(|pod| pod.trusts == [hub.authority.to_string()]));
        }
    }
}
