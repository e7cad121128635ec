//! podzero

pub mod clock;
pub mod config;
pub mod exit;
pub mod report;
pub mod topology;
