//! The endpoint that serves all backends as one server. Changes when the merged endpoint does.

#[path = "merged/absence.rs"]
mod absence;
#[path = "merged/asking.rs"]
mod asking;
#[path = "merged/lists.rs"]
mod lists;
#[path = "merged/routing.rs"]
mod routing;
#[path = "merged/support.rs"]
mod support;
