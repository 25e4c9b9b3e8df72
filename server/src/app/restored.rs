//! A data directory as `etcdutl snapshot restore` or `tenurectl snapshot restore` makes it: at its
//! first start the node takes the state in it over.

use super::AppError;
use crate::{
    backup,
    config::Config,
    storage::{DataDir, etcd_database},
};

/// Takes the state over if the directory is such a one, and no member's yet.
pub(super) fn take_over(config: &Config) -> Result<(), AppError> {
    let path = &config.data_dir;
    let Some(database) = etcd_database(path) else {
        return Ok(());
    };
    let dir = DataDir::open_restored(path)?;
    if dir.owner().is_some() {
        return Ok(());
    }
    backup::import(&dir, &database, &config.name).map_err(|source| AppError::Restored {
        path: path.clone(),
        source: Box::new(source),
    })
}
