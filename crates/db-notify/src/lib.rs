//! Will send one message to people on the channel of their choice; it is empty yet.
#![doc = ""]
#![doc = include_str!("../README.md")]
