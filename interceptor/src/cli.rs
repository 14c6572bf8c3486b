//! What a user types: subcommands, flags, environment and configuration file.
