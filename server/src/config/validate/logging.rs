//! Rules for logs.

use super::Check;
use crate::config::{
    flags,
    settings::{LogFormat, LogLevel, LogOutput},
};

impl Check<'_> {
    pub(super) fn log_level(&self) -> LogLevel {
        match self.sources.text(flags::LOG_LEVEL).as_str() {
            "debug" => LogLevel::Debug,
            "warn" => LogLevel::Warn,
            "error" | "panic" | "fatal" => LogLevel::Error,
            _ => LogLevel::Info,
        }
    }

    pub(super) fn log_format(&self) -> LogFormat {
        match self.sources.text(flags::LOG_FORMAT).as_str() {
            "console" => LogFormat::Console,
            _ => LogFormat::Json,
        }
    }

    pub(super) fn log_outputs(&mut self) -> Vec<LogOutput> {
        let mut outputs = Vec::new();
        for word in self.sources.words(flags::LOG_OUTPUTS) {
            let output = match word.as_str() {
                "default" | "stderr" => LogOutput::Stderr,
                "stdout" => LogOutput::Stdout,
                _ => {
                    let remedy = format!(
                        "{word:?} is neither stderr nor stdout; log files are not built yet, so \
                         redirect one of those"
                    );
                    self.bad(flags::LOG_OUTPUTS.name, remedy);
                    continue;
                }
            };
            if !outputs.contains(&output) {
                outputs.push(output);
            }
        }
        if outputs.is_empty() {
            outputs.push(LogOutput::Stderr);
        }
        outputs
    }
}
