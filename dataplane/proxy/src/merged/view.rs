//! What the merged endpoint shows to one generation of clients, and where its names lead. Immutable; replaced as a
//! whole. Changes when merging changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bridge_mcp::cursor::{Cursor, CursorError, CursorKey};
use bridge_mcp::merge::{CacheHints, Item, ListKind, MergedList, ModernFields, PageLimits};
use bridge_mcp::names::{BackendNames, NameTable, Naming};
use bridge_mcp::resource::{BackendResources, ResourceTable};
use bridge_mcp::version::Era;
use bridge_policy::refusal::Reason;
use bridge_snapshot::Naming as ConfiguredNaming;
use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::keep::notification;
use crate::cluster::{Cluster, Lists, Offer};
use crate::gateway::Plan;

/// Bounds of one page. Many clients read the first page only, so pages are large.
const PAGE: PageLimits = PageLimits { max_items: 1000, max_bytes: 4 * 1024 * 1024 };
/// Names of earlier conflicts that are remembered. Backends choose names, so they could make it grow for ever.
const MAX_CONFLICTS: usize = 50_000;
/// Changes that a slow listener may lag behind; it then assumes that everything changed.
const CHANGES: usize = 64;

/// A merged list changed for one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) era: Era,
    pub(crate) kind: ListKind,
}

/// Both views, their cursors' key, and the news about them.
pub(crate) struct Views {
    legacy: ArcSwap<View>,
    modern: ArcSwap<View>,
    cursor_key: CursorKey,
    pub(crate) changes: broadcast::Sender<Change>,
    /// Names that were in conflict before: they stay prefixed when one of their owners goes away.
    conflicts: Mutex<Conflicts>,
}

/// Names that were in conflict, of tools and of prompts.
#[derive(Default)]
struct Conflicts {
    tools: BTreeSet<String>,
    prompts: BTreeSet<String>,
}

impl Conflicts {
    fn len(&self) -> usize {
        self.tools.len() + self.prompts.len()
    }
}

impl Views {
    pub(crate) fn new(cursor_key: CursorKey) -> Self {
        Self {
            legacy: ArcSwap::from_pointee(View::empty(Era::Legacy)),
            modern: ArcSwap::from_pointee(View::empty(Era::Modern)),
            cursor_key,
            changes: broadcast::Sender::new(CHANGES),
            conflicts: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, era: Era) -> Arc<View> {
        match era {
            Era::Legacy => self.legacy.load_full(),
            Era::Modern => self.modern.load_full(),
        }
    }

    /// Merges the catalogues as they are now, and announces what differs from before.
    pub(crate) fn rebuild(&self, plan: &ArcSwap<Plan>) {
        // One rebuild at a time, of the plan that is current then, so that an older one never replaces a newer one.
        let mut conflicts = self.conflicts.lock();
        let plan = plan.load();
        let mut legacy = View::build(Era::Legacy, &plan, &mut conflicts);
        let known = conflicts.len();
        let modern = View::build(Era::Modern, &plan, &mut conflicts);
        if conflicts.len() != known {
            // A conflict that only one generation has renames in both, now and not at some later rebuild.
            legacy = View::build(Era::Legacy, &plan, &mut conflicts);
        }
        for (era, slot, view) in [(Era::Legacy, &self.legacy, legacy), (Era::Modern, &self.modern, modern)] {
            let before = slot.swap(Arc::new(view));
            let now = slot.load();
            let mut told = Vec::new();
            for kind in ListKind::ALL {
                let news = notification(kind);
                if before.list(kind).generation() != now.list(kind).generation() && !told.contains(&news) {
                    told.push(news);
                    // Nobody listens, nobody to tell.
                    drop(self.changes.send(Change { era, kind }));
                }
            }
        }
    }
}

/// A configured backend, and what it lists.
type Member = (Arc<Cluster>, Option<Arc<Lists>>);

/// Merged lists and owners.
pub(crate) struct View {
    era: Era,
    settled: bool,
    /// All configured backends in order, with what they list when it is known. Positions are those of the tables below:
    /// a backend that is away keeps its place and its prefix.
    members: Vec<Member>,
    lists: Vec<(MergedList, CacheHints)>,
    pub(super) tools: NameTable,
    pub(super) prompts: NameTable,
    pub(super) resources: ResourceTable,
    /// Backends that were expected and are absent.
    absent: bool,
}

impl View {
    /// What is known before the first look at the catalogues: nothing, and that is not settled.
    fn empty(era: Era) -> Self {
        Self { settled: false, ..Self::merge(era, Vec::new(), Naming::Never, &mut Conflicts::default()) }
    }

    fn build(era: Era, plan: &Plan, conflicts: &mut Conflicts) -> Self {
        let mut settled = true;
        let mut absent = false;
        let mut members = Vec::new();
        for cluster in &plan.clusters {
            let lists = match cluster.offer(era) {
                Offer::Ready(lists) => Some(lists),
                Offer::Loading => {
                    settled = false;
                    None
                }
                Offer::Absent(refusal) => {
                    absent |= refusal.reason != Reason::EraMismatch;
                    None
                }
            };
            members.push((Arc::clone(cluster), lists));
        }
        let naming = match plan.snapshot.naming {
            ConfiguredNaming::Never => Naming::Never,
            ConfiguredNaming::OnConflict => Naming::OnConflict,
            ConfiguredNaming::Always => Naming::Always,
        };
        let view = Self::merge(era, members, naming, conflicts);
        Self { settled, absent, ..view }
    }

    fn merge(era: Era, members: Vec<Member>, naming: Naming, conflicts: &mut Conflicts) -> Self {
        let tools = names(&members, ListKind::Tools, naming, &mut conflicts.tools);
        let prompts = names(&members, ListKind::Prompts, naming, &mut conflicts.prompts);
        let lists = ListKind::ALL.map(|kind| {
            let catalogues: Vec<_> = members.iter().map(|member| items(member, kind)).collect();
            let table = match kind {
                ListKind::Tools => Some(&tools),
                ListKind::Prompts => Some(&prompts),
                ListKind::Resources | ListKind::Templates => None,
            };
            let list = MergedList::build(kind, &catalogues, table);
            for left_out in list.left_out() {
                let backend = members.get(left_out.backend).map(|(cluster, _)| &cluster.name);
                tracing::debug!(?backend, item = %left_out.key, list = kind.member(), "hidden by an earlier backend");
            }
            let hints = CacheHints::merged(members.iter().filter_map(|(_, lists)| lists.as_ref()?.hints(kind)));
            (list, hints)
        });
        let keys = |kind| -> Vec<Vec<&str>> {
            members.iter().map(|member| items(member, kind).iter().map(|item| &*item.key).collect()).collect()
        };
        let (uris, templates) = (keys(ListKind::Resources), keys(ListKind::Templates));
        let owned: Vec<_> = uris
            .iter()
            .zip(&templates)
            .map(|(uris, templates)| BackendResources { uris, templates })
            .collect();
        let resources = ResourceTable::build(&owned);
        Self { era, settled: true, absent: false, members, lists: lists.into(), tools, prompts, resources }
    }

    /// Whether every backend has been read or found absent.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether a backend is missing that might have owned an unknown name.
    pub(crate) fn misses_backends(&self) -> bool {
        self.absent || !self.settled
    }

    /// The backend at a position, if what it lists is known.
    pub(crate) fn member(&self, position: usize) -> Option<&Arc<Cluster>> {
        self.members.get(position).filter(|(_, lists)| lists.is_some()).map(|(cluster, _)| cluster)
    }

    /// Whether a backend's capabilities have something at `path`.
    pub(crate) fn offers(&self, cluster: &Cluster, path: &[&str]) -> bool {
        let member = self.members.iter().find(|(member, _)| member.name == cluster.name);
        member.and_then(|(_, lists)| lists.as_ref()).is_some_and(|lists| lists.handshake.offers(path))
    }

    /// The backends whose lists are known, with their positions.
    pub(crate) fn ready(&self) -> impl Iterator<Item = (usize, &Arc<Cluster>, &Arc<Lists>)> {
        let members = self.members.iter().enumerate();
        members.filter_map(|(position, (cluster, lists))| Some((position, cluster, lists.as_ref()?)))
    }

    fn list(&self, kind: ListKind) -> &MergedList {
        static EMPTY: std::sync::OnceLock<MergedList> = std::sync::OnceLock::new();
        let found = self.lists.iter().map(|(list, _)| list).find(|list| list.kind() == kind);
        found.unwrap_or_else(|| EMPTY.get_or_init(|| MergedList::build(ListKind::Tools, &[], None)))
    }

    /// Writes the result of a list request.
    pub(super) fn write_list(
        &self,
        kind: ListKind,
        cursor: Option<&str>,
        views: &Views,
        out: &mut BytesMut,
    ) -> Result<(), CursorError> {
        let list = self.list(kind);
        let offset = match cursor {
            None => 0,
            Some(text) => Cursor::decode(text, &views.cursor_key)?.offset_in(list)?,
        };
        let page = list.page(offset, PAGE, |_| true);
        let next = page.next.map(|offset| Cursor::at(list, offset).encode(&views.cursor_key));
        let info = super::hello::server_info();
        let hints = self.lists.iter().find(|(list, _)| list.kind() == kind).map(|(_, hints)| *hints);
        let modern = (self.era == Era::Modern)
            .then_some(ModernFields { hints: hints.unwrap_or_default(), server_info: Some(info.as_bytes()) });
        list.write_result(out, &page, next.as_deref(), modern);
        Ok(())
    }
}

fn items(member: &Member, kind: ListKind) -> &[Item] {
    member.1.as_ref().map_or(&[], |lists| lists.items(kind))
}

fn names(members: &[Member], kind: ListKind, naming: Naming, conflicts: &mut BTreeSet<String>) -> NameTable {
    let names: Vec<Vec<&str>> =
        members.iter().map(|member| items(member, kind).iter().map(|item| &*item.key).collect()).collect();
    let backends: Vec<_> = members
        .iter()
        .zip(&names)
        .map(|((cluster, _), names)| BackendNames { prefix: &cluster.name, names })
        .collect();
    if conflicts.len() > MAX_CONFLICTS {
        conflicts.clear();
    }
    let table = NameTable::build(naming, &backends, conflicts);
    conflicts.extend(table.conflicts().map(ToOwned::to_owned));
    table
}
