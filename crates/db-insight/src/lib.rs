//! Why a query is slow and what to do about it.
#![doc = ""]
#![doc = include_str!("../README.md")]

pub mod repeats;
