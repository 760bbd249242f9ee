//! The final value of a run: what changed, what is left behind, what to type next.
