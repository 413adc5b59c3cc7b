//! What `--help` says beyond each option: which commands belong together, and examples.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use super::Args;

/// The commands by what they are for, in the order in which they are listed.
const GROUPS: &[(&str, &[&str])] = &[
    ("In and out", &["import", "export", "inventory", "adopt"]),
    ("Look", &["list", "inspect", "cat", "resolve", "blobs"]),
    ("Ask", &["tree", "referrers", "diff", "find", "why", "du", "stats", "lease"]),
    ("Names", &["tag", "rename", "rm", "prune", "log", "undo", "pin", "unpin"]),
    ("Upkeep", &["gc", "check", "maintain", "reindex", "index"]),
    ("Data", &["data", "blob-data"]),
    ("Setup", &["completion", "man", "version"]),
];

/// Examples of each command, a line each.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "import",
        &[
            "oci-store import --sref latest --dref app:1 ./layout",
            "oci-store import --all backup.tar               # all images that have a name",
            "oci-store import --platform linux/arm64 ./layout",
            "oci-store import --all --link hardlink ./layout # no second copy",
            "oci-store import --all --resume ./layout        # goes on after a kill",
            "oci-store import --all --move ./layout          # what was taken goes from there",
            "oci-store import -                              # docker save nginx | oci-store import -",
            "oci-store import oci-archive:a.tar:v1 b.tar.zst # several, side by side",
        ],
    ),
    (
        "export",
        &[
            "oci-store export app:1 ./layout                 # new, or added to what is there",
            "oci-store export app:1 /srv/other-store         # into another store",
            "oci-store export --all backup.tar.zst           # all images, in one archive",
            "oci-store export app:1 - | ssh host oci-store import -",
            "oci-store export --platform linux/amd64 app:1 docker-archive:- | docker load",
            "oci-store export --sref 0c45 --dref app:old ./layout",
        ],
    ),
    (
        "adopt",
        &[
            "oci-store adopt ./layout && oci-store --store-path ./layout list",
            "oci-store --index sqlite adopt --verify ./layout",
        ],
    ),
    (
        "inventory",
        &[
            "oci-store inventory > have.json                 # there, where nothing can be pulled",
            "oci-store export --exclude have.json app:2 thin.tar.zst",
            "oci-store export --exclude - app:2 thin.tar     # ssh host oci-store inventory | …",
        ],
    ),
    (
        "list",
        &[
            "oci-store list",
            "oci-store list app:                             # names that begin so",
            "oci-store list -q app: | xargs oci-store rm",
            "oci-store list --format jsonl | jq -r .digest",
        ],
    ),
    ("inspect", &["oci-store inspect app:1", "oci-store inspect --raw app:1 | jq ."]),
    ("cat", &["oci-store cat sha256:0c45 | tar -tz             # a layer", "oci-store cat app:1"]),
    ("resolve", &["oci-store resolve 0c45"]),
    (
        "blobs",
        &[
            "oci-store blobs --min-size 100MiB",
            "oci-store blobs --unused-for 30days --format jsonl",
            "oci-store blobs --limit 1000 --after sha256:0c45…  # the next page",
        ],
    ),
    ("tree", &["oci-store tree app:1"]),
    ("referrers", &["oci-store referrers app:1", "oci-store referrers app:1 --artifact-type application/spdx+json"]),
    ("diff", &["oci-store diff app:1 app:2"]),
    (
        "find",
        &[
            "oci-store find --platform linux/arm64 --min-size 100MiB",
            "oci-store find --label maintainer=ann --older-than 30days",
            "oci-store find -q --layer 0c45 | xargs oci-store rm",
        ],
    ),
    ("why", &["oci-store why 0c45                              # what keeps this blob"]),
    (
        "du",
        &[
            "oci-store du                                    # each image, and all of them",
            "oci-store du app:1 app:2                        # what removing these two would free",
            "oci-store du --html shared.html                 # a picture of who shares what",
        ],
    ),
    ("stats", &["oci-store stats"]),
    ("lease", &["oci-store lease ls"]),
    (
        "tag",
        &["oci-store tag app:1 app:stable", "oci-store tag --new 0c45 app:2              # fails if app:2 is there"],
    ),
    ("rename", &["oci-store rename app:1 app:old"]),
    ("rm", &["oci-store rm app:1 app:2", "oci-store rm app:1 && oci-store gc              # and what only it needed"]),
    ("log", &["oci-store log", "oci-store log app:1 --limit 1"]),
    (
        "undo",
        &[
            "oci-store rm app:1 && oci-store undo            # app:1 is back, if no gc came in between",
            "oci-store undo app:1",
        ],
    ),
    ("pin", &["oci-store pin 0c45", "oci-store pin                                   # lists them"]),
    ("unpin", &["oci-store unpin 0c45"]),
    (
        "gc",
        &[
            "oci-store gc",
            "oci-store gc --dry-run",
            "oci-store gc --full                             # also files that nobody has listed",
        ],
    ),
    (
        "check",
        &[
            "oci-store check                                 # that all is there",
            "oci-store check --read-data app:1               # that every byte is right",
            "oci-store check --read-data-subset 1/7           # of every byte, a seventh",
            "oci-store check --budget 10m                    # what was verified longest ago",
            "oci-store check --repair --from ./layout",
        ],
    ),
    (
        "prune",
        &[
            "oci-store prune --keep-last 3                   # of each name",
            "oci-store prune --filter 'ci/*' --older-than 14days",
            "oci-store prune --keep-last 3 --dry-run",
        ],
    ),
    ("maintain", &["oci-store maintain", "oci-store maintain --budget 10m --format json"]),
    ("reindex", &["oci-store reindex"]),
    ("index", &["oci-store index show", "oci-store index convert --to sqlite"]),
    (
        "data",
        &[
            "oci-store data set build app:1 '{\"commit\":\"0c45\"}' --blob app:1",
            "oci-store data get build app:1",
            "oci-store data list build",
        ],
    ),
    ("blob-data", &["oci-store blob-data set 0c45 scanned clean", "oci-store blob-data get 0c45 scanned"]),
    (
        "completion",
        &[
            "source <(oci-store completion bash)             # in ~/.bashrc",
            "oci-store completion bash > /usr/share/bash-completion/completions/oci-store",
            "oci-store completion zsh > /usr/share/zsh/site-functions/_oci-store",
            "oci-store completion fish > /usr/share/fish/vendor_completions.d/oci-store.fish",
        ],
    ),
    ("man", &["oci-store man /usr/share/man/man1"]),
    ("version", &["oci-store version --format json"]),
];

/// How [`MORE`] begins.
pub(crate) const EXIT_CODES: &str = "Exit codes:";

/// The last words of `oci-store --help`.
const MORE: &str = "\
Exit codes:
  0  done        1  an error          2  the command line is not understood
  3  damage, or something missing     4  not found      5  ambiguous
  6  nothing keeps the blob (why)     130  ended by Ctrl-C

oci-store COMMAND --help tells more of one, with examples.";

/// The command line, with all that its help has to say. To put that together takes longer than most commands do, so it
/// is for who asks for help.
pub(crate) fn with_help() -> Command {
    let mut command = Args::command();
    for (name, examples) in EXAMPLES {
        if command.find_subcommand(name).is_some() {
            command = command.mut_subcommand(name, |sub| sub.after_help(lines_of(examples)));
        }
    }
    let list = list(&command);
    let header = *command.get_styles().get_header();
    let template = format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}{header}Options:{header:#}\n{{options}}{{after-help}}"
    );
    command.help_template(template).after_help(MORE)
}

fn lines_of(examples: &[&str]) -> String {
    let mut text = String::from("Examples:");
    for example in examples {
        let _ = write!(text, "\n  {example}");
    }
    text
}

/// The commands in their groups; one that is in none comes last.
fn list(command: &Command) -> String {
    let visible = || command.get_subcommands().filter(|sub| !sub.is_hide_set());
    let width = visible().map(|sub| sub.get_name().len()).max().unwrap_or_default();
    let styles = command.get_styles();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut text = String::new();
    let mut write = |title: &str, subs: &[&Command]| {
        if subs.is_empty() {
            return;
        }
        let _ = writeln!(text, "{header}{title}:{header:#}");
        for sub in subs {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            let about = brief(&about, COLUMNS.saturating_sub(width + 4));
            let aliases: Vec<&str> = sub.get_visible_aliases().collect();
            let aliases = if aliases.is_empty() { String::new() } else { format!(" [also: {}]", aliases.join(", ")) };
            let _ = writeln!(text, "  {literal}{:width$}{literal:#}  {about}{aliases}", sub.get_name());
        }
        text.push('\n');
    };
    for (title, names) in GROUPS {
        let subs: Vec<&Command> =
            names.iter().filter_map(|name| visible().find(|sub| sub.get_name() == *name)).collect();
        write(title, &subs);
    }
    let grouped = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    write("More", &visible().filter(|sub| !grouped(sub.get_name())).collect::<Vec<_>>());
    text
}

/// As wide as the list of commands is at most.
const COLUMNS: usize = 80;

/// What a command is for, without what its own help adds to that, in at most so many characters.
fn brief(about: &str, most: usize) -> &str {
    let main = ["; ", ": ", " ("].iter().filter_map(|mark| about.find(mark)).min();
    let main = about.get(..main.unwrap_or(about.len())).unwrap_or(about);
    if main.chars().count() <= most {
        return main;
    }
    let end = main.match_indices(", ").map(|(at, _)| at).filter(|at| *at <= most).last();
    main.get(..end.unwrap_or(main.len())).unwrap_or(main)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_in_one_group_and_has_examples() {
        let command = Args::command();
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let name = sub.get_name();
            let groups = GROUPS.iter().filter(|(_, names)| names.contains(&name)).count();
            assert_eq!(groups, 1, "{name}: give it a group in GROUPS");
            assert!(EXAMPLES.iter().any(|(of, _)| *of == name), "{name}: give it examples in EXAMPLES");
        }
        let known = |name: &str| command.find_subcommand(name).is_some();
        assert!(GROUPS.iter().flat_map(|(_, names)| *names).all(|name| known(name)));
    }

    #[test]
    fn every_example_is_a_command_line_that_is_understood() {
        for (name, examples) in EXAMPLES {
            assert!(!examples.is_empty());
            for example in *examples {
                assert!(example.chars().count() < 90, "{example}");
                for part in example.split("  #").next().unwrap().split(" && ") {
                    let part = part.split(" | ").next().unwrap().split(" > ").next().unwrap();
                    let words = part.trim().trim_start_matches("source <(").trim_end_matches(')');
                    let words: Vec<String> =
                        words.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect();
                    assert_eq!(words.first().map(String::as_str), Some("oci-store"), "{example}");
                    let parsed = with_help().try_get_matches_from(words);
                    assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
                    assert!(parsed.is_ok_and(|parsed| parsed.subcommand_name().is_some()), "{name}: {example}");
                }
            }
        }
    }

    #[test]
    fn the_list_of_commands_is_not_wider_than_a_terminal() {
        for line in list(&Args::command()).lines() {
            let plain: String = unstyled(line);
            assert!(plain.chars().count() <= COLUMNS, "{plain}: say it in fewer words");
        }
        assert_eq!(MORE.lines().next(), Some(EXIT_CODES));
        assert_eq!(brief("List refs", 60), "List refs");
        assert_eq!(brief("Remove refs; blobs go with the next gc", 60), "Remove refs");
        assert_eq!(brief("Export into a layout, new or existing", 25), "Export into a layout");
    }

    /// Without what makes it bold.
    fn unstyled(line: &str) -> String {
        line.split('\u{1b}')
            .enumerate()
            .map(|(n, part)| if n == 0 { part } else { part.split_once('m').unwrap().1 })
            .collect()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        with_help().debug_assert();
    }
}
