//! What commands and questions are about to cost, for the node that proposes, applies or answers
//! them.
//!
//! Estimates: not part of what is replicated.

mod light;
mod walk;
