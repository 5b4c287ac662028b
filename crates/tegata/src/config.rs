//! `tegata config`: what `serve` would run with.

use crate::exit::Exit;
use crate::output::{Failure, Report};
use crate::serve::Settings;

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

impl ConfigCommand {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let (Self::Check { settings, .. } | Self::Show { settings, .. }) = &self;
        let config = settings.config().map_err(|e| Failure::new(Exit::Config, e))?;
        let json = serde_json::to_value(&config).map_err(|e| Failure::new(Exit::Failed, e))?;
        let text = match self {
            Self::Check { .. } => "good".to_owned(),
            Self::Show { .. } => toml::to_string(&config).map_err(|e| Failure::new(Exit::Failed, e))?,
        };
        Ok(Report::done(text, json))
    }

    pub(crate) fn json(&self) -> bool {
        match self {
            Self::Check { json, .. } | Self::Show { json, .. } => *json,
        }
    }
}
