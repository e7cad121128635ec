//! The part of the benchmark that needs no servers, where `cargo nextest` finds its tests: the figures
//! themselves have a `main` of their own.

#[allow(dead_code, reason = "the figures use the rest")]
mod report;
