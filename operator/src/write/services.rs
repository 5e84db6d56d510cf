//! What owners of Services are told, in Events: once each, and not more than an API server bears. Whoever may annotate a
//! Service decides what there is to tell. Changes when they are told more or less.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::Resource as _;

use super::Writer;
use crate::compile::{Compilation, ServiceNote};
use crate::engine::View;
use crate::world::ObjectName;

/// Notes about one Service.
const NOTES: usize = 8;
/// Between two times that there is something new about one Service.
const PAUSE: Duration = Duration::from_secs(10);
/// Services about which something is told in one [`WINDOW`].
const BUDGET: u32 = 5;
const WINDOW: Duration = Duration::from_secs(1);

/// Notes by Service.
type Notes = BTreeMap<ObjectName, BTreeSet<ServiceNote>>;

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// What another replica tells while this one does not write.
    followed: Option<Arc<Compilation>>,
    /// Absent before this replica writes.
    notes: Option<Notes>,
    at: BTreeMap<ObjectName, Instant>,
    /// The last Service about which something was told: the next one comes first.
    last: Option<ObjectName>,
    /// When the budget was begun, and how much of it was spent.
    spent: Option<(Instant, u32)>,
}

impl Told {
    /// Somebody else tells what there is.
    pub(super) fn follow(&mut self, compilation: Option<&Arc<Compilation>>) {
        self.followed = compilation.cloned().or_else(|| self.followed.take());
        self.notes = None;
    }

    /// What is to be told now, and when there is more.
    fn news(&mut self, all: &Notes, now: Instant) -> (Vec<(ObjectName, ServiceNote)>, Option<Instant>) {
        let followed = self.followed.take();
        let notes = self.notes.get_or_insert_with(|| match followed {
            Some(before) => before.services.clone(),
            // Of what is well nobody need hear again when an operator starts.
            None => all.iter().map(|(name, notes)| (name.clone(), without_warnings(notes))).collect(),
        });
        notes.retain(|name, _| all.contains_key(name));
        self.at.retain(|_, at| now < *at + PAUSE);
        let (mut news, mut due) = (Vec::new(), None);
        let mut later = |at: Instant| due = Some(due.map_or(at, |due: Instant| due.min(at)));
        let (after, until) = match &self.last {
            Some(last) => (all.range((Excluded(last), Unbounded)), Some(all.range(..=last))),
            None => (all.range::<ObjectName, _>(..), None),
        };
        let mut last = None;
        for (name, found) in after.chain(until.into_iter().flatten()) {
            let told = notes.entry(name.clone()).or_default();
            if told == found {
                continue;
            }
            let mut fresh: Vec<_> = found.iter().take(NOTES).filter(|note| !told.contains(note)).collect();
            if fresh.is_empty() {
                told.clone_from(found);
                continue;
            }
            if let Some(at) = self.at.get(name) {
                later(*at + PAUSE);
                continue;
            }
            let (begun, spent) = self.spent.filter(|(begun, _)| now < *begun + WINDOW).unwrap_or((now, 0));
            if spent == BUDGET {
                later(begun + WINDOW);
                break;
            }
            self.spent = Some((begun, spent + 1));
            self.at.insert(name.clone(), now);
            last = Some(name.clone());
            let cut = (found.len() > NOTES).then(|| fresh.pop()).flatten().map(|note| ServiceNote {
                message: format!("{} (and {} more)", note.message, found.len() - NOTES),
                ..note.clone()
            });
            news.extend(fresh.into_iter().cloned().chain(cut).map(|note| (name.clone(), note)));
            told.clone_from(found);
        }
        self.last = last.or_else(|| self.last.take());
        (news, due)
    }
}

fn without_warnings(notes: &BTreeSet<ServiceNote>) -> BTreeSet<ServiceNote> {
    notes.iter().filter(|note| !note.warning).cloned().collect()
}

impl Writer {
    /// Tells owners of Services what is new.
    pub(super) async fn tell_services(&mut self, view: &View, compilation: &Compilation) {
        let (news, due) = self.told.news(&compilation.services, Instant::now());
        if let Some(due) = due {
            self.wake_at(due);
        }
        for (name, note) in news {
            let Some(service) = view.world.services.get(&name) else { continue };
            if self.applier.check().is_err() {
                return;
            }
            self.events.publish(&service.object_ref(&()), note.reason, note.warning, &note.message).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(index: usize) -> ObjectName {
        ObjectName::new("here", format!("s{index:02}"))
    }

    fn warned(words: impl IntoIterator<Item = usize>) -> BTreeSet<ServiceNote> {
        let note = |index| ServiceNote {
            reason: "InvalidAnnotation",
            warning: true,
            message: format!("{index:04}"),
        };
        words.into_iter().map(note).collect()
    }

    fn well() -> BTreeSet<ServiceNote> {
        [ServiceNote { reason: "DiscoveredService", warning: false, message: "served as s".into() }].into()
    }

    #[test]
    fn one_service_is_told_little_and_not_often() {
        let (mut told, start) = (Told::default(), Instant::now());
        let (news, due) = told.news(&[(name(0), warned(0..5000))].into(), start);
        assert_eq!((news.len(), due), (NOTES, None));
        assert_eq!(news[NOTES - 1].1.message, "0007 (and 4992 more)");
        let changed: Notes = [(name(0), warned([6000]))].into();
        assert_eq!(told.news(&changed, start), (vec![], Some(start + PAUSE)));
        assert_eq!(told.news(&changed, start + PAUSE).0.len(), 1);
        assert_eq!(told.news(&changed, start + PAUSE), (vec![], None));
    }

    #[test]
    fn many_services_are_told_a_few_at_a_time_and_each_gets_its_turn() {
        let (mut told, start) = (Told::default(), Instant::now());
        let all: Notes = (0..12).map(|index| (name(index), warned([index]))).collect();
        let names =
            |news: Vec<(ObjectName, ServiceNote)>| news.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let (news, due) = told.news(&all, start);
        assert_eq!((names(news), due), ((0..5).map(name).collect(), Some(start + WINDOW)));
        // Those that were told change at once, and wait behind the others.
        let mut changed = all.clone();
        changed.extend((0..5).map(|index| (name(index), warned([100]))));
        assert_eq!(names(told.news(&changed, start + WINDOW).0), (5..10).map(name).collect::<Vec<_>>());
        assert_eq!(names(told.news(&changed, start + 2 * WINDOW).0), [name(10), name(11)]);
        assert_eq!(names(told.news(&changed, start + PAUSE).0), (0..5).map(name).collect::<Vec<_>>());
    }

    #[test]
    fn a_new_leader_does_not_repeat_what_was_told() {
        let start = Instant::now();
        let all: Notes = [(name(0), well()), (name(1), warned([1]))].into();
        let follower = |services: &Notes| {
            let mut told = Told::default();
            let compilation = Compilation { services: services.clone(), ..Compilation::default() };
            told.follow(Some(&Arc::new(compilation)));
            told
        };
        assert_eq!(follower(&all).news(&all, start).0, []);
        let news = follower(&Notes::new()).news(&all, start).0;
        assert_eq!(news.len(), 2, "what is new since is told");
        let news = Told::default().news(&all, start).0;
        assert_eq!(news, [(name(1), warned([1]).pop_first().unwrap())], "a first one tells what is wrong");
    }
}
