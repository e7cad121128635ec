//! podzero

pub mod act;
pub mod clock;
pub mod commands;
pub mod conf;
pub mod config;
pub mod decide;
pub mod exit;
pub mod http;
pub mod init;
pub mod log;
pub mod metrics;
pub mod observe;
pub mod publish;
pub mod rdb;
pub mod report;
pub mod retry;
pub mod secret;
pub mod shutdown;
pub mod sidecar;
pub mod state_file;
pub mod topology;
