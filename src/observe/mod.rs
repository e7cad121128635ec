//! Looking at the world: the server, the peers, DNS. Everything that can fail here is data.

mod bounded;
pub mod dns;
pub mod host;
pub mod info;
pub mod local;
pub mod members;
pub mod names;
pub mod peers;
pub mod redis;
mod server_error;
pub mod tls;
