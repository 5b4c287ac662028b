//! `tegata config`: what `serve` would run with.

use crate::exit::Exit;
use crate::explain::why;
use crate::output::{Failure, Report};
use crate::serve::{Settings, tunnels};
use tegata_server::ConfigError;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check the settings; says nothing but "good" when they are.
    Check {
        #[command(flatten)]
        settings: Settings,
        /// Print one JSON value.
        #[arg(long)]
        json: bool,
    },
    /// Print the settings that came out of flags, environment, file and defaults, as a configuration file.
    Show {
        #[command(flatten)]
        settings: Settings,
        /// Print one JSON value.
        #[arg(long)]
        json: bool,
    },
}

/// Settings of breakers with the reason of their default: nobody changes them every day.
fn explained(toml: &str) -> String {
    let line = |line: &str| {
        let why = line.split_once(" = ").and_then(|(key, _)| why(key));
        why.map_or_else(|| format!("{line}\n"), |why| format!("# default: {why}\n{line}\n"))
    };
    toml.lines().map(line).collect()
}

impl ConfigCommand {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let (Self::Check { settings, .. } | Self::Show { settings, .. }) = &self;
        let config = settings.config().map_err(|e| {
            let exit = if matches!(e, ConfigError::Insecure { .. }) { Exit::Insecure } else { Exit::Config };
            Failure::new(exit, e)
        })?;
        if matches!(self, Self::Check { .. }) {
            config.policy().map_err(|e| Failure::new(Exit::Config, e))?;
            tunnels(&config).map_err(|e| Failure::new(Exit::Config, e))?;
        }
        let json = serde_json::to_value(&config).map_err(|e| Failure::new(Exit::Failed, e))?;
        let text = match self {
            Self::Check { .. } => "good".to_owned(),
            Self::Show { .. } => explained(&toml::to_string(&config).map_err(|e| Failure::new(Exit::Failed, e))?),
        };
        Ok(Report::done(text, json))
    }

    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Check { json, .. } | Self::Show { json, .. } => *json,
        }
    }
}
