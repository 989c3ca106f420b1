// SPDX-License-Identifier: GPL-2.0

//! Values as text.

use std::fmt::Write;

use serde_json::Value;

use crate::model::{Line, Listing};

/// Any value: a line a field, lists of flat things as tables, the rest indented.
pub fn tree(value: &Value) -> String {
    let mut out = String::new();
    put(&mut out, value, 0);
    out
}

fn put(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) => {
            let width = fields.keys().map(String::len).max().unwrap_or(0);
            for (name, value) in fields {
                match inline(value) {
                    Some(text) => line(out, indent, &format!("{name:width$}  {text}")),
                    None => {
                        line(out, indent, name);
                        put(out, value, indent + 2);
                    }
                }
            }
        }
        Value::Array(items) if is_table(items) => table(out, items, indent),
        Value::Array(items) => {
            for item in items {
                line(out, indent, "-");
                put(out, item, indent + 2);
            }
        }
        other => line(out, indent, &inline(other).unwrap_or_default()),
    }
}

fn line(out: &mut String, indent: usize, text: &str) {
    let _ = writeln!(out, "{:indent$}{}", "", text.trim_end());
}

/// A value that fits on the line of its name.
fn inline(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("-".into()),
        Value::Bool(true) => Some("yes".into()),
        Value::Bool(false) => Some("no".into()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let texts: Option<Vec<String>> = items
                .iter()
                .map(|item| item.as_str().map(str::to_string))
                .collect();
            match texts {
                Some(texts) if texts.is_empty() => Some("none".into()),
                Some(texts) => Some(texts.join(" ")),
                None => None,
            }
        }
        Value::Object(_) => None,
    }
}

/// Whether all items are flat objects.
fn is_table(items: &[Value]) -> bool {
    items.iter().all(|item| {
        item.as_object()
            .is_some_and(|fields| fields.values().all(|value| inline(value).is_some()))
    })
}

/// A table: names first; a column for each field that any item has.
fn table(out: &mut String, items: &[Value], indent: usize) {
    let mut names: Vec<String> = Vec::new();
    for item in items.iter().filter_map(Value::as_object) {
        for name in item.keys() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    let mut rows = vec![names.clone()];
    for item in items {
        let cell = |name: &String| item.get(name).and_then(inline).unwrap_or_default();
        rows.push(names.iter().map(cell).collect());
    }
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max();
    let widths: Vec<usize> = (0..names.len()).map(|n| width(n).unwrap_or(0)).collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        line(out, indent, &cells.join("  "));
    }
}

/// Directory listings, in the manner of ls(1).
pub fn listing(listings: &[Listing], long: bool) -> String {
    let mut out = String::new();
    for (n, listing) in listings.iter().enumerate() {
        if listings.len() > 1 {
            let gap = if n == 0 { "" } else { "\n" };
            let _ = writeln!(out, "{gap}{}:", listing.path);
        }
        for entry in &listing.entries {
            let _ = match long {
                true => writeln!(out, "{}", long_line(entry)),
                false => writeln!(out, "{}", entry.name),
            };
        }
    }
    out
}

fn long_line(entry: &Line) -> String {
    let stat = &entry.stat;
    let target = match &stat.target {
        Some(target) => format!(" -> {target}"),
        None => String::new(),
    };
    let size = match &stat.rdev {
        Some(rdev) => rdev.clone(),
        None => stat.size.to_string(),
    };
    format!(
        "{:>8} {} {:>3} {:>5} {:>5} {:>12} {} {}{target}",
        stat.ino, stat.mode, stat.nlink, stat.uid, stat.gid, size, stat.mtime, entry.name
    )
}
