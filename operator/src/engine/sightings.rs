//! How far the watches of this replica have been seen. Changes when a watch tells more of how far it is.

use std::sync::Arc;

use crate::status::Seen;

/// What was seen until now, and what of it had been seen when the world was compiled.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// The cluster when the watches began: their first lists are not older, even where nothing in them is as new.
    start: u64,
    seen: Seen,
    mattered: Seen,
    compiled: (Arc<Seen>, Arc<Seen>),
}

impl Sightings {
    /// The watches begin after `start`, a resource version; 0 when it is not known.
    pub(super) fn new(start: u64) -> Self {
        Self { start, ..Self::default() }
    }

    /// A watch has brought something, which `matters` when it can change what pods get.
    pub(super) fn saw(&mut self, watch: &str, revision: u64, matters: bool) {
        let note = |seen: &mut Seen, start: u64| match seen.get_mut(watch) {
            Some(at) => *at = revision.max(*at),
            None => drop(seen.insert(watch.to_owned(), revision.max(start))),
        };
        note(&mut self.seen, self.start);
        if matters {
            note(&mut self.mattered, 0);
        }
    }

    /// What was seen until now is in the world as it is compiled.
    pub(super) fn compiled(&mut self) {
        self.compiled = (Arc::new(self.mattered.clone()), Arc::new(self.seen.clone()));
    }

    /// Of what is in the compiled world, what can make a difference to pods.
    pub(super) fn mattered(&self) -> &Arc<Seen> {
        &self.compiled.0
    }

    /// What is in the compiled world.
    pub(super) fn seen(&self) -> &Arc<Seen> {
        &self.compiled.1
    }
}
