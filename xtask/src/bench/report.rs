//! What came out, as Markdown: medians, and how each goal was met or missed.

use std::fmt::Write as _;

use super::contest::{Goal, Outcome};
use super::sample::Sample;

/// The middle of some figures.
pub(super) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    match (figures.get(figures.len().saturating_sub(1) / 2), figures.get(figures.len() / 2)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

impl Outcome {
    /// The median of the wall times of the contender whose name begins so, in milliseconds.
    fn wall(&self, name: &str) -> Option<f64> {
        let (_, samples) = self.rounds.iter().find(|(other, _)| other.starts_with(name))?;
        (!samples.is_empty()).then(|| median(samples.iter().map(|sample| sample.wall)))
    }

    /// A table, and a line for each goal.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n{}\n\n", self.name, self.about);
        text.push_str("| | ms | least – most | then to flush | CPU ms | peak MiB |\n|---|---:|---:|---:|---:|---:|\n");
        for (name, samples) in &self.rounds {
            let of = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure));
            let walls = || samples.iter().map(|sample| sample.wall);
            let (least, most) = (walls().fold(f64::INFINITY, f64::min), walls().fold(0.0, f64::max));
            let _ = writeln!(
                text,
                "| {name} | {} | {} – {} | {} | {} | {:.0} |",
                short(of(|s| s.wall)),
                short(least),
                short(most),
                short(of(|s| s.flush)),
                short(of(|s| s.cpu)),
                of(|s| s.peak as f64) / 1024.0
            );
        }
        text.push('\n');
        for (name, samples) in &self.rounds {
            text.extend(drift(name, samples));
        }
        for line in self.goals.iter().flat_map(|goal| self.judge(goal)) {
            let _ = writeln!(text, "- {line}");
        }
        text
    }

    /// How the store did at a goal. Nothing is said of a tool that is not installed.
    fn judge(&self, goal: &Goal) -> Vec<String> {
        let ours = self.rounds.iter().map(|(name, _)| name).filter(|name| name.starts_with(OURS));
        let judge = |name: &String| {
            // The same index's, where the other is the store too.
            let index = name.rsplit(' ').next().unwrap_or_default();
            let than = self.wall(&format!("{} {index}", goal.than)).or_else(|| self.wall(&goal.than))?;
            let ratio = self.wall(name)? / than;
            let text = match goal.limit {
                limit if limit >= 1.0 => format!("{name} ≤ {limit:.2} × {}: {ratio:.2} ×", goal.than),
                limit => format!("{name} ≥ {:.1} × faster than {}: {:.1} ×", 1.0 / limit, goal.than, 1.0 / ratio),
            };
            let verdict = if ratio <= goal.limit { "met" } else { "**missed**" };
            Some(format!("{text}: {verdict}"))
        };
        ours.filter_map(judge).collect()
    }
}

/// What the names of the store's own contenders begin with.
pub(super) const OURS: &str = "oci-store";

/// Where a contender runs many commands: what the first and the last of them took.
fn drift(name: &str, samples: &[Sample]) -> Option<String> {
    let part = |take: fn(&[f64]) -> &[f64]| median(samples.iter().flat_map(|sample| take(&sample.each).to_vec()));
    let tenth = samples.first()?.each.len() / 10;
    if tenth == 0 {
        return None;
    }
    let first = part(|each| &each[..each.len() / 10]);
    let last = part(|each| &each[each.len() - each.len() / 10..]);
    let ratio = last / first;
    Some(format!(
        "- {name}: each of the first {tenth} {} ms, of the last {} ms: {ratio:.2} ×\n",
        short(first),
        short(last)
    ))
}

/// Three digits, about.
fn short(figure: f64) -> String {
    match figure {
        figure if figure >= 100.0 => format!("{figure:.0}"),
        figure if figure >= 10.0 => format!("{figure:.1}"),
        figure => format!("{figure:.2}"),
    }
}
