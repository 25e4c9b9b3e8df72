//! Entry point: turns arguments and variables into a configuration, or into text to print.
//!
//! The only part that accesses the process and the disk.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    arguments, checked,
    fault::{ConfigErrors, Warning},
    file,
    flags::{CHECK_CONFIG, CONFIG_FILE},
    help,
    settings::Config,
    validate::validate,
    variables,
};

/// The action that the command line requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// Run the server.
    Serve {
        /// The configuration to run with.
        config: Arc<Config>,
        /// Warnings to log once the logger runs.
        warnings: Vec<Warning>,
    },
    /// Print this on standard output and exit with success.
    Print(String),
}

/// Reads the configuration of this process.
///
/// # Errors
/// See [`load`].
pub fn from_process() -> Result<Invocation, ConfigErrors> {
    load(env::args_os().skip(1), env::vars_os())
}

/// Reads a configuration from the arguments after the program's name, from variables, and from the
/// file that either names.
///
/// A missing or empty data directory means a first start, whose settings are checked, too; see
/// [`Config::first_start`].
///
/// # Errors
/// Every fault that was found, at once. The process should print them and exit with code 2.
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Invocation, ConfigErrors> {
    let mut arguments = arguments::read(arguments);
    match arguments.action {
        Some("version") => return Ok(Invocation::Print(help::version())),
        Some(CHECK_CONFIG) | None => {}
        Some(_) => return Ok(Invocation::Print(help::text())),
    }
    let variables = variables::read(variables);
    let mut sources = variables.sources;
    let mut faults = std::mem::take(&mut arguments.faults);
    faults.extend(variables.faults);
    sources.overlay(arguments.sources);

    let path = sources.text(CONFIG_FILE);
    if !path.is_empty() {
        let (mut from_file, file_faults) =
            file::read(&PathBuf::from(path), sources.origin(CONFIG_FILE.name));
        faults.extend(file_faults);
        from_file.overlay(sources);
        sources = from_file;
    }

    let (config, value_faults, mut warnings) = validate(&sources);
    warnings.extend(variables.warnings);
    // Values that do not parse would only repeat their faults here.
    let fresh = is_fresh(&config.data_dir);
    if value_faults.is_empty()
        && fresh
        // The members are not known yet.
        && config.discovery.is_none()
        && let Err(errors) = config.first_start()
    {
        faults.extend(errors.faults().iter().cloned());
    }
    faults.extend(value_faults);
    ConfigErrors::check(faults)?;
    if arguments.action == Some(CHECK_CONFIG) {
        return Ok(Invocation::Print(checked::text(&config, &warnings, fresh)));
    }
    Ok(Invocation::Serve {
        config: Arc::new(config),
        warnings,
    })
}

/// Whether a data directory is missing or empty. The storage reports one that cannot be listed.
fn is_fresh(data_dir: &Path) -> bool {
    match fs::read_dir(data_dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests;
