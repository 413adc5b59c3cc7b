//! A store's own files, spoilt: refused in one line, and left alone.

use std::fs;

use anyhow::Result;

use super::import::store;
use super::run::{differences, run, snapshot};
use super::{Field, fresh};

/// What `config.json` is to be.
pub(super) struct Own {
    pub(super) name: &'static str,
    config: fn(&str) -> Vec<u8>,
}

const fn own(name: &'static str, config: fn(&str) -> Vec<u8>) -> Own {
    Own { name, config }
}

fn replaced(text: &str, key: &str, value: &str) -> Vec<u8> {
    let mut config: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    config[key] = "@".into();
    config.to_string().replace("\"@\"", value).into_bytes()
}

/// All of them.
pub(super) fn cases() -> Vec<Own> {
    vec![
        own("config-empty", |_| Vec::new()),
        own("config-no-json", |_| b"garbage".to_vec()),
        own("config-not-utf-8", |_| b"{\"format\":\"\xff\"}".to_vec()),
        own("config-null", |_| b"null".to_vec()),
        own("config-list", |_| b"[]".to_vec()),
        own("config-deep", |_| vec![b'['; 100_000]),
        own("config-100-MiB", |_| vec![b' '; 100 << 20]),
        own("config-cut", |text| text.as_bytes()[..text.len() / 2].to_vec()),
        own("config-bytes-behind", |text| format!("{text}{text}").into_bytes()),
        own("config-format-0-text", |text| replaced(text, "format", "\"1\"")),
        own("config-format-huge", |text| replaced(text, "format", "99999999999999999999")),
        own("config-format-negative", |text| replaced(text, "format", "-1")),
        own("config-format-99", |text| replaced(text, "format", "99")),
        own("config-kind-other", |text| replaced(text, "kind", "\"\\u001b[2J\\u202e\"")),
        own("config-kind-1-MiB", |text| replaced(text, "kind", &format!("\"{}\"", "x".repeat(1 << 20)))),
        own("config-epoch-absent", |text| replaced(text, "epoch", "77")),
        own("config-epoch-huge", |text| replaced(text, "epoch", "18446744073709551615")),
        own("config-epoch-2-64", |text| replaced(text, "epoch", "18446744073709551616")),
        own("config-epoch-negative", |text| replaced(text, "epoch", "-1")),
        own("config-epoch-path", |text| replaced(text, "epoch", "\"../../x\"")),
        own("config-index-path", |text| replaced(text, "index", "\"../../x\"")),
        own("config-index-empty", |text| replaced(text, "index", "\"\"")),
        own("config-index-escape", |text| replaced(text, "index", "\"\\u001b[2J\\n\\u202e\"")),
        own("config-index-twice", |text| {
            let text = text.trim_end().strip_suffix('}').unwrap_or(text);
            format!("{text},\"index\":\"x\"}}").into_bytes()
        }),
        own("config-shared-text", |text| replaced(text, "shared", "\"yes\"")),
    ]
}

/// Every command refuses such a store, and touches nothing; so does a reindex, or it mends the store.
pub(super) fn attack(field: &mut Field<'_>, case: &Own) -> Result<()> {
    let at = fresh(field.scratch, "case")?;
    let store = store(field, &at)?;
    let path = store.join(".oci-store/config.json");
    let text = fs::read_to_string(&path)?;
    fs::write(&path, (case.config)(&text))?;
    let base = field.scratch.join("base");
    let without = [".oci-store/locks"];
    let before = (snapshot(&store, &without)?, snapshot(field.scratch, &["case/store"])?);
    let import = ["import", "--all", &base.to_string_lossy()].map(str::to_owned).to_vec();
    let mut commands: Vec<Vec<String>> = ["list", "gc --full", "check", "rm base-0", "tag base-0 x", "cat base-0"]
        .iter()
        .map(|words| words.split(' ').map(str::to_owned).collect())
        .collect();
    commands.push(import);
    commands.push(vec!["index".to_owned(), "convert".to_owned(), "--to".to_owned(), field.other().to_owned()]);
    for words in commands {
        let ran = run(field.program, &store, &words)?;
        field.note(&ran);
        let mut wrong = ran.not_refused();
        wrong.extend(differences(&before.0, &snapshot(&store, &without)?));
        wrong.extend(differences(&before.1, &snapshot(field.scratch, &["case/store"])?));
        field.fell(case.name, &words[0], wrong);
    }
    let ran = run(field.program, &store, ["reindex"])?;
    field.note(&ran);
    let mut wrong = if ran.code() == Some(0) { ran.abnormal() } else { ran.not_refused() };
    wrong.extend(differences(&before.1, &snapshot(field.scratch, &["case/store"])?));
    field.fell(case.name, "reindex", wrong);
    Ok(())
}
