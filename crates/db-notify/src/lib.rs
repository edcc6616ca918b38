//! Sends one message to people, on several channels, once, and says when a channel is dead.
#![doc = include_str!("../README.md")]

mod channel;
mod config;
mod deliver;
mod gate;
mod line;
mod message;
mod notifier;
mod secret;
mod status;

#[cfg(feature = "discord")]
mod discord;
#[cfg(feature = "email")]
mod email;
#[cfg(feature = "_http")]
mod http;
#[cfg(feature = "slack")]
mod slack;
#[cfg(feature = "teams")]
mod teams;
#[cfg(feature = "webhook")]
pub mod webhook;

#[cfg(feature = "discord")]
pub use discord::Discord;
#[cfg(feature = "email")]
pub use email::Email;
#[cfg(feature = "slack")]
pub use slack::Slack;
#[cfg(feature = "teams")]
pub use teams::Teams;
#[cfg(feature = "webhook")]
pub use webhook::Webhook;

pub use channel::{BoxFuture, Channel, InvalidChannel, SendError};
pub use config::NotifyConfig;
pub use message::{Message, Severity};
pub use notifier::Notifier;
pub use secret::Secret;
pub use status::ChannelStatus;
