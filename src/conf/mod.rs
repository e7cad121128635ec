//! The server's configuration file: what the user wrote, what podzero adds, and how it is written.

pub mod base;
pub mod glob;
pub mod login;
pub mod overrides;
pub mod quote;
pub mod render;
pub mod write;
