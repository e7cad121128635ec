//! podzero

pub mod clock;
pub mod config;
pub mod exit;
pub mod observe;
pub mod report;
pub mod topology;
