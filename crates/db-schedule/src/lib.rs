//! Will run jobs at their times, on one of many processes; it is empty yet.
#![doc = ""]
#![doc = include_str!("../README.md")]
