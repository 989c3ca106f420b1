// SPDX-License-Identifier: GPL-2.0

//! The kernel log: `pr_err!`, `pr_warn!`, `pr_info!`.
//!
//! In userspace a message goes to the sink the program set, by default to stderr from `Warn` up.

use std::sync::Mutex;

/// Severity of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// `pr_err!`.
    Err,
    /// `pr_warn!`.
    Warn,
    /// `pr_info!`.
    Info,
}

type Sink = std::boxed::Box<dyn Fn(Level, &str) + Send>;

static SINK: Mutex<Option<Sink>> = Mutex::new(None);

/// Sends all messages to `sink`; `None` restores stderr.
pub fn set_sink(sink: Option<Sink>) {
    *SINK.lock().unwrap_or_else(|e| e.into_inner()) = sink;
}

/// Emits one message. Used by the macros.
pub fn emit(level: Level, args: core::fmt::Arguments<'_>) {
    let text = args.to_string();
    let text = text.trim_end();
    match &*SINK.lock().unwrap_or_else(|e| e.into_inner()) {
        Some(sink) => sink(level, text),
        None if level <= Level::Warn => eprintln!("latchfs: {text}"),
        None => {}
    }
}

/// Logs an error.
#[macro_export]
macro_rules! pr_err {
    ($($arg:tt)*) => { $crate::log::emit($crate::log::Level::Err, format_args!($($arg)*)) };
}

/// Logs a warning.
#[macro_export]
macro_rules! pr_warn {
    ($($arg:tt)*) => { $crate::log::emit($crate::log::Level::Warn, format_args!($($arg)*)) };
}

/// Logs information.
#[macro_export]
macro_rules! pr_info {
    ($($arg:tt)*) => { $crate::log::emit($crate::log::Level::Info, format_args!($($arg)*)) };
}
