//! Traffic decisions as pure functions of plan, facts and time.
