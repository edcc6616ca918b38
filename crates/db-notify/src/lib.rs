//! Sends one message to people, on several channels, once, and says when a channel is dead.
#![doc = include_str!("../README.md")]

mod channel;
mod config;
mod deliver;
mod gate;
mod letter;
mod line;
mod message;
mod notification_config;
mod notifier;
mod secret;
mod status;

#[cfg(feature = "settings")]
mod settings;

#[cfg(feature = "discord")]
mod discord;
#[cfg(feature = "email")]
mod email;
#[cfg(feature = "heartbeat")]
mod heartbeat;
#[cfg(feature = "_http")]
mod http;
#[cfg(feature = "pagerduty")]
mod pagerduty;
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
#[cfg(feature = "heartbeat")]
pub use heartbeat::Heartbeat;
#[cfg(feature = "pagerduty")]
pub use pagerduty::PagerDuty;
#[cfg(feature = "slack")]
pub use slack::Slack;
#[cfg(feature = "teams")]
pub use teams::Teams;
#[cfg(feature = "webhook")]
pub use webhook::Webhook;

pub use channel::{BoxFuture, Channel, InvalidChannel, SendError};
pub use config::NotifyConfig;
pub use message::{Gathered, Message, Severity};
pub use notification_config::NotificationConfig;
pub use notifier::{Delivery, Notifier};
pub use secret::Secret;
pub use status::ChannelStatus;
