//! Names on the endpoint that serves all backends: which name each tool or prompt is shown under, and whose it is.
//! Changes when the naming rules of the merged endpoint change.
//!
//! A generated name is a pure function of the backend's prefix and the tool's own name. Whether it is advertised
//! depends on other backends only where they offer the same name or the prefix space is theirs.

mod generated;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use generated::{PrefixSpace, candidate, generate};

/// When names are prefixed with the backend's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Naming {
    /// Names stay as they are; of two equal ones the first backend's is served.
    Never,
    /// Names that more than one backend offers are prefixed, for all of them.
    #[default]
    OnConflict,
    /// Every name is prefixed.
    Always,
}

/// What one backend offers.
#[derive(Debug, Clone, Copy)]
pub struct BackendNames<'a> {
    /// What its names are prefixed with: the operator's id for it, not what the server calls itself.
    pub prefix: &'a str,
    /// Its names in its own order. Repetitions count once.
    pub names: &'a [&'a str],
}

/// A name of one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Position of the backend in the table's input.
    pub backend: usize,
    /// The name as the backend knows it.
    pub original: Arc<str>,
}

/// Whose a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution<'a> {
    /// One backend's.
    Owner(&'a Owner),
    /// Offered by these backends, none of which owns it alone: the caller must use a prefixed name. One owner is left
    /// when the other backends of an earlier conflict are away.
    Ambiguous(&'a [Owner]),
    /// Nobody's.
    Unknown,
}

/// The names of one kind (tools or prompts) of all backends.
#[derive(Debug, Default)]
pub struct NameTable {
    backends: Vec<HashMap<Arc<str>, Shown>>,
    resolved: HashMap<Box<str>, Resolved>,
    conflicts: BTreeSet<Box<str>>,
    shadowed: Vec<Owner>,
}

#[derive(Debug)]
struct Shown {
    exposed: Option<Box<str>>,
    prefixed: Box<str>,
}

#[derive(Debug)]
enum Resolved {
    One(Owner),
    Many(Vec<Owner>),
}

impl NameTable {
    /// Builds the table. `sticky` are names that were in conflict earlier ([`Self::conflicts`] of former tables): they
    /// stay prefixed, so that an advertised name does not change when a backend goes away. Pass every configured
    /// backend, also one without names at the moment, so that its prefix space stays reserved.
    pub fn build(naming: Naming, backends: &[BackendNames<'_>], sticky: &BTreeSet<String>) -> Self {
        let offers = offers(backends);
        let mut table =
            Self { backends: backends.iter().map(|_| HashMap::new()).collect(), ..Self::default() };
        let bare = match naming {
            Naming::Never => table.first_of_each(&offers),
            Naming::OnConflict => table.unique_ones(backends, &offers, sticky),
            Naming::Always => HashMap::new(),
        };
        // Bare names first: what is advertised unrenamed is never taken over by a generated name.
        for (owner, name) in &bare {
            table.resolved.insert(name.clone(), Resolved::One((*owner).clone()));
        }
        for owner in &offers {
            let prefix = backends.get(owner.backend).map_or("", |backend| backend.prefix);
            let prefixed = table.add_prefixed(prefix, owner);
            let exposed = match (bare.get(owner), naming) {
                (Some(name), _) => Some(name.clone()),
                (None, Naming::Never) => None,
                (None, Naming::OnConflict | Naming::Always) => Some(prefixed.clone()),
            };
            if let Some(names) = table.backends.get_mut(owner.backend) {
                names.insert(owner.original.clone(), Shown { exposed, prefixed });
            }
        }
        table.add_ambiguous(&offers);
        table
    }

    /// Whose `exposed` is. The prefixed form of every name resolves, advertised or not.
    pub fn resolve(&self, exposed: &str) -> Resolution<'_> {
        match self.resolved.get(exposed) {
            Some(Resolved::One(owner)) => Resolution::Owner(owner),
            Some(Resolved::Many(owners)) => Resolution::Ambiguous(owners),
            None => Resolution::Unknown,
        }
    }

    /// The name under which a backend's tool or prompt is advertised; `None` when the backend does not offer it or,
    /// with [`Naming::Never`], an earlier backend has the same name.
    pub fn exposed(&self, backend: usize, original: &str) -> Option<&str> {
        self.backends.get(backend)?.get(original)?.exposed.as_deref()
    }

    /// The prefixed form of a name, which always resolves to it.
    pub fn prefixed(&self, backend: usize, original: &str) -> Option<&str> {
        self.backends.get(backend)?.get(original).map(|shown| &*shown.prefixed)
    }

    /// Names that are in conflict now, earlier ones included: the `sticky` of the next table.
    pub fn conflicts(&self) -> impl Iterator<Item = &str> {
        self.conflicts.iter().map(|name| &**name)
    }

    /// With [`Naming::Never`]: what an earlier backend with the same name hides.
    pub fn shadowed(&self) -> &[Owner] {
        &self.shadowed
    }

    fn first_of_each<'o>(&mut self, offers: &'o [Owner]) -> HashMap<&'o Owner, Box<str>> {
        let mut taken = HashSet::new();
        let mut bare = HashMap::new();
        for owner in offers {
            if taken.insert(&owner.original) {
                bare.insert(owner, owner.original.as_ref().into());
            } else {
                self.shadowed.push(owner.clone());
            }
        }
        bare
    }

    fn unique_ones<'o>(
        &mut self,
        backends: &[BackendNames<'_>],
        offers: &'o [Owner],
        sticky: &BTreeSet<String>,
    ) -> HashMap<&'o Owner, Box<str>> {
        let space = PrefixSpace::of(backends.iter().map(|backend| backend.prefix));
        let mut offered: HashMap<_, usize> = HashMap::new();
        for owner in offers {
            *offered.entry(candidate(&owner.original)).or_default() += 1;
        }
        self.conflicts.extend(sticky.iter().map(|name| name.as_str().into()));
        let contested = offered.iter().filter(|(_, owners)| **owners > 1);
        self.conflicts.extend(contested.map(|(name, _)| name.as_ref().into()));
        let mut bare = HashMap::new();
        for owner in offers {
            let name = candidate(&owner.original);
            if !self.conflicts.contains(name.as_ref()) && !space.contains(&name) {
                bare.insert(owner, name.into());
            }
        }
        bare
    }

    /// Generated names differ unless prefixes are equal or hashes collide; then later owners get another hash.
    fn add_prefixed(&mut self, prefix: &str, owner: &Owner) -> Box<str> {
        let mut salt = 0u64;
        loop {
            let name = generate(prefix, &owner.original, salt);
            if !self.resolved.contains_key(name.as_str()) {
                let name = Box::<str>::from(name);
                self.resolved.insert(name.clone(), Resolved::One(owner.clone()));
                return name;
            }
            salt += 1;
        }
    }

    fn add_ambiguous(&mut self, offers: &[Owner]) {
        let mut ambiguous: HashMap<Box<str>, Vec<Owner>> = HashMap::new();
        for owner in offers {
            let name = candidate(&owner.original);
            if self.conflicts.contains(name.as_ref()) {
                ambiguous.entry(name.into()).or_default().push(owner.clone());
            }
        }
        for (name, owners) in ambiguous {
            self.resolved.entry(name).or_insert(Resolved::Many(owners));
        }
    }
}

impl std::hash::Hash for Owner {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.backend.hash(state);
        self.original.hash(state);
    }
}

fn offers(backends: &[BackendNames<'_>]) -> Vec<Owner> {
    let mut offers = Vec::new();
    for (backend, offered) in backends.iter().enumerate() {
        let mut seen = HashSet::new();
        let names = offered.names.iter().filter(|name| seen.insert(**name));
        offers.extend(names.map(|name| Owner { backend, original: (*name).into() }));
    }
    offers
}

#[cfg(test)]
mod tests;
