//! Names that are none, in the source and in the command.

use serde_json::json;

use super::case::Case;

const BAD: &[(&str, &str)] = &[
    ("empty", ""),
    ("newline", "a\nerror: b"),
    ("nul", "a\0b"),
    ("escape", "\u{1b}[2J\u{1b}]0;x\u{7}"),
    ("c1", "a\u{9b}31mb"),
    ("bidi", "a\u{202e}gpj.b"),
    ("isolate", "a\u{2066}b\u{2069}"),
    ("line-separator", "a\u{2028}b"),
    ("zero-width", "a\u{200b}b"),
    ("bom", "\u{feff}a"),
    ("tag", "a\u{e0041}b"),
    ("dash", "-rf"),
    ("dot", "."),
    ("dots", ".."),
    ("parent", "../../x"),
    ("absolute", "/etc/passwd"),
    ("trailing-slash", "a/"),
    ("two-slashes", "a//b"),
    ("space", "a b"),
    ("backslash", "a\\b"),
    ("not-ascii", "näm"),
    ("percent", "a%2fb"),
    ("three-dashes", "a---b"),
];

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut source = |name: String, text: String| {
        cases.push(Case::bad(format!("ref-{name}"), move |kit| {
            let mut image = kit.image()?;
            image["annotations"] = json!({ "org.opencontainers.image.ref.name": text });
            kit.list_as_is(&[image])
        }));
    };
    for (name, text) in BAD {
        source((*name).to_owned(), (*text).to_owned());
    }
    source("1-MiB".to_owned(), "a".repeat(1 << 20));
    source("1025".to_owned(), "a".repeat(1025));
    // In the command, where no NUL can be.
    for (name, text) in BAD.iter().filter(|(name, _)| *name != "nul") {
        let case = Case::bad(format!("dref-{name}"), |_| Ok(()));
        cases.push(case.words(&["import", &format!("--dref={text}")]).folder_only());
        if !text.is_empty() {
            let case = Case::bad(format!("sref-{name}"), |_| Ok(()));
            cases.push(case.words(&["import", &format!("--sref={text}")]).folder_only());
        }
    }
    let long = format!("--dref={}", "a".repeat(100_000));
    cases.push(Case::bad("dref-100-000", |_| Ok(())).words(&["import", &long]).folder_only());
    cases
}
