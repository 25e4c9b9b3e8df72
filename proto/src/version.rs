//! The version of etcd's API.

/// The etcd release whose API is served; clients and tools gate features on it.
pub const API_VERSION: &str = "3.6.0";
