//! podzero

pub mod clock;
pub mod conf;
pub mod config;
pub mod decide;
pub mod exit;
pub mod observe;
pub mod rdb;
pub mod report;
pub mod retry;
pub mod secret;
pub mod state_file;
pub mod topology;
