//! The longest time in EL3 of each call and of each interrupt, in instructions, and
//! what it was when it was last recorded.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use regex::Regex;
use serde_json::{Value, json};

/// On how many PEs they are measured.
pub const PES: [u32; 2] = [4, 512];

/// The most that a call may take on any number of PEs. The TRNG's is mostly its
/// hardware's.
const LIMIT: u64 = 2000;

/// Where they are recorded.
pub const FILE: &str = "xtask/src/longest.txt";
const RECORDED: &str = include_str!("longest.txt");

/// By call: the most instructions, and in which state.
pub type Longest = BTreeMap<String, (u64, String)>;

/// The `longest COUNT CALL: STATE` lines in what the payload printed.
pub fn read(text: &str) -> Result<Longest> {
    let line = Regex::new(r"(?m)^longest (\d+) ([^:\r\n]+): ([^\r\n]*)")?;
    let mut longest = Longest::new();
    for captures in line.captures_iter(text) {
        let count = captures[1].parse()?;
        let most = longest.entry(captures[2].to_owned()).or_default();
        if count > most.0 {
            *most = (count, captures[3].trim_start_matches(", ").to_owned());
        }
    }
    Ok(longest)
}

/// What is recorded of each call, by number of PEs as in [`PES`].
fn recorded() -> Result<BTreeMap<&'static str, [u64; 2]>> {
    let row = |line: &'static str| {
        let mut fields = line.split('\t');
        let call = fields.next()?;
        Some((
            call,
            [fields.next()?.parse().ok()?, fields.next()?.parse().ok()?],
        ))
    };
    RECORDED
        .lines()
        .map(|line| row(line).with_context(|| format!("{FILE} has '{line}'")))
        .collect()
}

/// What is worse than recorded by more than 2 %, or too long, in the column of
/// [`PES`].
pub fn worse(longest: &Longest, column: usize) -> Result<Vec<String>> {
    let recorded = recorded()?;
    let mut worse: Vec<String> = longest
        .iter()
        .filter_map(|(call, (ours, state))| {
            let was = recorded.get(call.as_str()).map_or(0, |row| row[column]);
            let limit = was + was / 50;
            let limit = if was <= LIMIT {
                limit.min(LIMIT)
            } else {
                limit
            };
            (*ours > limit)
                .then(|| format!("{call} ({state}), longest time: {ours}, recorded {was}"))
        })
        .collect();
    worse.extend(
        recorded
            .keys()
            .filter(|call| !longest.contains_key(**call))
            .map(|call| format!("{call}: not measured")),
    );
    Ok(worse)
}

/// The lines of [`FILE`] for these.
pub fn record(columns: &[Longest; 2]) -> String {
    rows(columns)
        .map(|(call, few, many, _)| format!("{call}\t{few}\t{many}\n"))
        .collect()
}

fn rows(columns: &[Longest; 2]) -> impl Iterator<Item = (&str, u64, u64, &str)> {
    let [few, many] = columns;
    many.iter().map(|(call, (count, state))| {
        let on_few = few.get(call).map_or(0, |&(count, _)| count);
        (call.as_str(), on_few, *count, state.as_str())
    })
}

/// Prints them.
pub fn print(columns: &[Longest; 2]) {
    println!("\nLongest time in EL3, and two instructions of the caller's:\n");
    println!(
        "{:<32} {:>7} {:>7}  on 512 in which state",
        "what", "4 PEs", "512 PEs"
    );
    for (call, few, many, state) in rows(columns) {
        let long = if many > LIMIT { "  too long" } else { "" };
        println!("{call:<32} {few:>7} {many:>7}  {state}{long}");
    }
}

/// The same as JSON.
pub fn json(columns: &[Longest; 2]) -> impl Iterator<Item = Value> {
    rows(columns).map(|(call, few, many, state)| {
        json!({ "longest": call, "state": state, "on_4": few, "on_512": many })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_is_kept() {
        let text = "longest 5 A: x, y\nlongest 9 A: z, y\nlongest 7 A: , y\nlongest x A: y\n";
        let longest = read(text).unwrap();
        assert_eq!(longest["A"], (9, "z, y".to_owned()));
    }

    #[test]
    fn the_record_can_be_read() {
        recorded().unwrap();
    }
}
