//! What to try next, behind an error: names that are close to one that is not there, and the command that helps.

use oci_store::{Error, ImageSource, Layout, Limit, Limits, base};

use crate::context::Context;

/// As many names are compared at most, of at most so many bytes: an error is not to last.
const NAMES: usize = 20_000;
const LONGEST: usize = 128;
/// As many are named.
const FEW: usize = 3;

/// What helps against an error, where something does.
pub(crate) fn next(context: &Context, error: &Error) -> Option<String> {
    let next = match error {
        Error::RefNotFound(name) => return Some(for_ref(context, name)),
        Error::NotInSource { name, has, .. } => return did_you_mean(&close(name, has.clone())),
        Error::Source { error, .. } if matches!(**error, Error::OverLimit { .. }) => return next(context, error),
        Error::Base(base::Error::NoStore(_)) => "`import` makes one",
        Error::Base(base::Error::Config { .. }) => "move it away, and `reindex` makes it anew",
        Error::Base(base::Error::BlobNotFound(_)) => "`blobs` lists those that are",
        Error::Base(base::Error::Ambiguous { .. }) => "give more digits",
        Error::OverLimit { limit: Limit::Manifest, .. } => "`import --max-manifest` lets in more, up to 64 MiB",
        Error::OverLimit { limit: Limit::IndexJson, .. } => "`import --max-index` lets in more, up to 1 GiB",
        Error::OverLimit { limit: Limit::Descriptors, .. } => "`import --max-descriptors` lets in more",
        Error::RefConflict(_) => "`inspect` shows what it names",
        error if error.is_no_space() && is_of_store(context, error) => "`rm` and `gc` make room",
        _ => return None,
    };
    Some(next.to_owned())
}

/// Whether it is the store that is out of space, and not where something was to go.
fn is_of_store(context: &Context, error: &Error) -> bool {
    let Ok(store) = context.path() else { return false };
    error.is_no_space_in(&store) || store.canonicalize().is_ok_and(|store| error.is_no_space_in(&store))
}

/// For a ref that is not there: `did you mean nginx:1.27? (`list` shows all refs)`.
fn for_ref(context: &Context, name: &str) -> String {
    let Some(names) = names(context) else { return "`list` shows all refs".to_owned() };
    if names.is_empty() {
        return "the store has no refs: `import` brings images".to_owned();
    }
    match did_you_mean(&close(name, names)) {
        None => "`list` shows all refs".to_owned(),
        Some(question) => format!("{question} (`list` shows all refs)"),
    }
}

fn did_you_mean(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| format!("did you mean {}?", names.join(", ")))
}

/// As Docker completes what a user writes: `docker.io/library/nginx:latest` for `nginx`.
fn completed(name: &str) -> String {
    let brief =
        ["docker.io/", "index.docker.io/"].iter().find_map(|registry| name.strip_prefix(registry)).unwrap_or(name);
    let brief = brief.strip_prefix("library/").unwrap_or(brief);
    let has_tag = brief.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    if has_tag { brief.to_owned() } else { format!("{brief}:latest") }
}

/// From the folder alone: the error has been told, and nothing is to be waited for. `None` if they can't be read.
fn names(context: &Context) -> Option<Vec<String>> {
    let layout = Layout::open(context.path().ok()?).ok()?.with_limits(Limits::OWN);
    Some(layout.entries().ok()?.into_iter().filter_map(|entry| entry.name).collect())
}

/// The names that begin with this one, or differ from it in a few characters; the closest first.
fn close(name: &str, names: Vec<String>) -> Vec<String> {
    if name.is_empty() || name.len() > LONGEST {
        return Vec::new();
    }
    let whole = completed(name);
    // One wrong character in a short name, more in a longer one.
    let most = (name.chars().count() / 4).clamp(1, 4);
    let mut found: Vec<(usize, String)> = names
        .into_iter()
        .take(NAMES)
        .filter(|known| known.len() <= LONGEST || known.starts_with(name))
        .filter_map(|known| {
            let is_same = known.starts_with(name) || completed(&known) == whole;
            let distance = if is_same { 0 } else { strsim::osa_distance(name, &known) };
            (distance <= most).then_some((distance, known))
        })
        .collect();
    found.sort();
    found.dedup();
    found.into_iter().take(FEW).map(|(_, known)| known).collect()
}

#[cfg(test)]
mod tests {
    use super::close;

    fn found(name: &str) -> Vec<String> {
        let names = ["nginx:1.27", "nginx:1.28", "app", "registry.example/team/service:v1"];
        close(name, names.map(str::to_owned).to_vec())
    }

    #[test]
    fn names_that_are_close_are_found_and_others_are_not() {
        assert_eq!(found("nginx"), ["nginx:1.27", "nginx:1.28"]);
        assert_eq!(found("ngnix:1.27"), ["nginx:1.27", "nginx:1.28"]);
        assert_eq!(found("ap"), ["app"]);
        assert_eq!(found("apq"), ["app"]);
        assert_eq!(found("registry.exmaple/team/servce:v1"), ["registry.example/team/service:v1"]);
        for same in ["docker.io/library/nginx:1.27", "library/nginx:1.27", "index.docker.io/library/nginx:1.27"] {
            assert_eq!(found(same), ["nginx:1.27"], "{same}");
        }
        assert_eq!(found("docker.io/library/app:latest"), ["app"]);
        for far in ["", "x", "postgres", "xyz", "a/b/c"] {
            assert_eq!(found(far), [""; 0], "{far}");
        }
    }
}
