//! Options of the commands on keys, and their conversion into requests.
//!
//! The options are the same on the command line and in the lines of a transaction.

use clap::Args;
use tenure::{Delete, Get, KeyRange, LeaseId, Put, Revision, SortOrder, SortTarget};

use super::{Consistency, lease_id};
use crate::failure::Failure;

#[derive(Debug, Clone, Args)]
pub struct PutArgs {
    /// The key
    pub key: String,
    /// The value; read from standard input unless given
    pub value: Option<String>,
    /// Lease to attach the key to, in hexadecimal
    #[arg(long, default_value = "0", hide_default_value = true, value_parser = lease_id)]
    pub lease: LeaseId,
    /// Print the previous key-value pair
    #[arg(long)]
    pub prev_kv: bool,
    /// Keep the current value
    #[arg(long)]
    pub ignore_value: bool,
    /// Keep the current lease
    #[arg(long)]
    pub ignore_lease: bool,
}

impl PutArgs {
    /// Applies the options to a request.
    ///
    /// # Errors
    /// [`Failure::Usage`] for options that do not fit together.
    pub fn apply<C>(&self, mut put: Put<C>) -> Result<Put<C>, Failure> {
        if self.ignore_value && self.value.is_some() {
            let text = "put command needs only 1 argument when 'ignore-value' is set";
            return Err(Failure::usage(text));
        }
        if self.lease != LeaseId::NONE {
            put = put.lease(self.lease);
        }
        if self.prev_kv {
            put = put.prev_kv();
        }
        if self.ignore_value {
            put = put.ignore_value();
        }
        if self.ignore_lease {
            put = put.ignore_lease();
        }
        Ok(put)
    }
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// The key, or the first of a range
    pub key: String,
    /// End of the range, not included
    pub range_end: Option<String>,
    /// Linearizable (l) or serializable (s)
    #[arg(long, default_value = "l")]
    pub consistency: Consistency,
    /// Order of the answer: ASCEND or DESCEND
    #[arg(long, default_value = "", hide_default_value = true)]
    pub order: String,
    /// Sort by: CREATE, KEY, MODIFY, VALUE or VERSION
    #[arg(long, default_value = "", hide_default_value = true)]
    pub sort_by: String,
    /// Most keys to return; 0 for all
    #[arg(long, default_value_t = 0)]
    pub limit: u32,
    /// All keys that start with the key
    #[arg(long)]
    pub prefix: bool,
    /// The key and all keys after it
    #[arg(long)]
    pub from_key: bool,
    /// Revision to read at
    #[arg(long, default_value_t = 0)]
    pub rev: i64,
    /// Print keys without their values
    #[arg(long)]
    pub keys_only: bool,
    /// Print only the number of keys
    #[arg(long)]
    pub count_only: bool,
    /// Print values without their keys
    #[arg(long)]
    pub print_value_only: bool,
    /// Lowest create revision
    #[arg(long, default_value_t = 0)]
    pub min_create_rev: i64,
    /// Highest create revision
    #[arg(long, default_value_t = 0)]
    pub max_create_rev: i64,
    /// Lowest mod revision
    #[arg(long, default_value_t = 0)]
    pub min_mod_rev: i64,
    /// Highest mod revision
    #[arg(long, default_value_t = 0)]
    pub max_mod_rev: i64,
    /// Stream the answer in pieces
    #[arg(long)]
    pub stream: bool,
}

impl GetArgs {
    /// The selected range of keys.
    ///
    /// # Errors
    /// [`Failure::Usage`] for options that do not fit together.
    pub fn range(&self) -> Result<KeyRange, Failure> {
        range(
            &self.key,
            self.range_end.as_deref(),
            self.prefix,
            self.from_key,
        )
    }

    /// Applies the options to a request.
    ///
    /// # Errors
    /// [`Failure::Usage`] for options that do not fit together.
    pub fn apply<C>(&self, mut get: Get<C>) -> Result<Get<C>, Failure> {
        if self.keys_only && self.count_only {
            let text =
                "`--keys-only` and `--count-only` cannot be set at the same time, choose one";
            return Err(Failure::usage(text));
        }
        if self.consistency == Consistency::S {
            get = get.serializable();
        }
        if self.rev > 0 {
            get = get.revision(Revision::new(self.rev));
        }
        if self.keys_only {
            get = get.keys_only();
        }
        if self.count_only {
            get = get.count_only();
        }
        self.filter(self.sort(get.limit(self.limit))?)
    }

    fn sort<C>(&self, get: Get<C>) -> Result<Get<C>, Failure> {
        let target = match self.sort_by.to_uppercase().as_str() {
            "" | "KEY" => SortTarget::Key,
            "CREATE" => SortTarget::CreateRevision,
            "MODIFY" => SortTarget::ModRevision,
            "VALUE" => SortTarget::Value,
            "VERSION" => SortTarget::Version,
            _ => return Err(Failure::usage(format!("bad sort target {}", self.sort_by))),
        };
        let order = match self.order.to_uppercase().as_str() {
            // The server sorts by key by default.
            "" if target == SortTarget::Key => return Ok(get),
            "" | "ASCEND" => SortOrder::Ascending,
            "DESCEND" => SortOrder::Descending,
            _ => return Err(Failure::usage(format!("bad sort order {}", self.order))),
        };
        Ok(get.sort(target, order))
    }

    fn filter<C>(&self, mut get: Get<C>) -> Result<Get<C>, Failure> {
        let empty = |name: &str, min: i64, max: i64| {
            let text = format!("--min-{name}-rev(={min}) > --max-{name}-rev(={max})");
            if max > 0 && min > max {
                Err(Failure::usage(text))
            } else {
                Ok(())
            }
        };
        empty("create", self.min_create_rev, self.max_create_rev)?;
        empty("mod", self.min_mod_rev, self.max_mod_rev)?;
        if self.min_create_rev > 0 {
            get = get.min_create_revision(Revision::new(self.min_create_rev));
        }
        if self.max_create_rev > 0 {
            get = get.max_create_revision(Revision::new(self.max_create_rev));
        }
        if self.min_mod_rev > 0 {
            get = get.min_mod_revision(Revision::new(self.min_mod_rev));
        }
        if self.max_mod_rev > 0 {
            get = get.max_mod_revision(Revision::new(self.max_mod_rev));
        }
        Ok(get)
    }
}

#[derive(Debug, Clone, Args)]
pub struct DelArgs {
    /// The key, or the first of a range
    pub key: String,
    /// End of the range, not included
    pub range_end: Option<String>,
    /// All keys that start with the key
    #[arg(long)]
    pub prefix: bool,
    /// Print the deleted key-value pairs
    #[arg(long)]
    pub prev_kv: bool,
    /// The key and all keys after it
    #[arg(long)]
    pub from_key: bool,
    /// Delete the range without a delay
    #[arg(long)]
    pub range: bool,
}

impl DelArgs {
    /// The selected range of keys.
    ///
    /// # Errors
    /// [`Failure::Usage`] for options that do not fit together.
    pub fn range(&self) -> Result<KeyRange, Failure> {
        range(
            &self.key,
            self.range_end.as_deref(),
            self.prefix,
            self.from_key,
        )
    }

    /// Applies the options to a request.
    pub fn apply<C>(&self, delete: Delete<C>) -> Delete<C> {
        if self.prev_kv {
            delete.prev_kv()
        } else {
            delete
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct WatchArgs {
    /// The key or the first of a range, and the end of the range, not included
    #[arg(num_args = 0..=2, value_names = ["KEY", "RANGE_END"])]
    pub keys: Vec<String>,
    /// Read commands from standard input: 'watch …' and 'progress'
    #[arg(short, long)]
    pub interactive: bool,
    /// All keys that start with the key
    #[arg(long)]
    pub prefix: bool,
    /// Revision to start at
    #[arg(long, default_value_t = 0)]
    pub rev: i64,
    /// Print the previous key-value pairs
    #[arg(long)]
    pub prev_kv: bool,
    /// Print progress notifications while nothing changes
    #[arg(long)]
    pub progress_notify: bool,
    /// Command to run for every change, described by the variables `ETCD_WATCH_*` and
    /// `TENURE_WATCH_*`
    #[arg(last = true, value_name = "COMMAND")]
    pub exec: Vec<String>,
}

impl WatchArgs {
    /// The selected range of keys; that of the environment when none is given on the command line.
    ///
    /// # Errors
    /// [`Failure::Usage`] for options that do not fit together.
    pub fn range(&self, environment: &[String]) -> Result<KeyRange, Failure> {
        let keys = match (self.keys.as_slice(), environment) {
            (keys, []) => keys,
            ([], keys) => keys,
            _ => {
                let text = "the key is given twice: as argument and by TENURECTL_WATCH_KEY or \
                            ETCDCTL_WATCH_KEY";
                return Err(Failure::usage(text));
            }
        };
        match keys {
            [] => Err(Failure::usage(
                "watch needs a key, or the variable TENURECTL_WATCH_KEY",
            )),
            [_, _] if self.prefix => Err(Failure::usage(
                "`range_end` and `--prefix` are mutually exclusive",
            )),
            [key, end, ..] => range(key, Some(end), false, false),
            [key] => range(key, None, self.prefix, false),
        }
    }
}

pub(super) fn range(
    key: &str,
    range_end: Option<&str>,
    prefix: bool,
    from_key: bool,
) -> Result<KeyRange, Failure> {
    match (range_end, prefix, from_key) {
        (_, true, true) => Err(Failure::usage(
            "`--prefix` and `--from-key` cannot be set at the same time, choose one",
        )),
        (Some(_), true, _) | (Some(_), _, true) => Err(Failure::usage(
            "too many arguments, only accept one argument when `--prefix` or `--from-key` is set",
        )),
        (Some(end), false, false) => Ok(KeyRange::between(key, end)),
        (None, true, false) => Ok(KeyRange::prefix(key)),
        (None, false, true) => Ok(KeyRange::from_key(key)),
        (None, false, false) => Ok(KeyRange::key(key)),
    }
}
