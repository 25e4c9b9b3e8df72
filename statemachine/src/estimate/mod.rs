//! Estimates of the cost of commands and queries, for the node that proposes, applies or answers
//! them. Not replicated.

mod light;
mod walk;
