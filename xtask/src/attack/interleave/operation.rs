//! The operations that run beside a gc, and what each may lead to.

use super::stage::Stage;

/// What a third process does once the operation has stopped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Between {
    Nothing,
    /// Another command, which must succeed.
    Command(fn(&Stage) -> Vec<String>),
    /// The bytes of a blob that is shared rot, and a check notices.
    Rot,
}

/// An operation beside a gc.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) args: fn(&Stage) -> Vec<String>,
    pub(super) between: Between,
    /// What it may say when it is refused: some serial order refuses it. Empty: none does.
    pub(super) refusals: &'static [&'static str],
    /// The ref that it sets, and to which image.
    pub(super) sets: Option<(&'static str, &'static str)>,
    /// The ref that it removes.
    pub(super) removes: Option<&'static str>,
    /// The ref that the third process sets, and to which image; or removes.
    pub(super) between_sets: Option<(&'static str, Option<&'static str>)>,
    /// The images of which an export may be.
    pub(super) exports: &'static [&'static str],
    /// The image that it pins.
    pub(super) pins: Option<&'static str>,
}

const PLAIN: Operation = Operation {
    name: "",
    args: |_| Vec::new(),
    between: Between::Nothing,
    refusals: &[],
    sets: None,
    removes: None,
    between_sets: None,
    exports: &[],
    pins: None,
};

const NO_REF: &[&str] = &["no such ref"];
const NO_BLOB: &[&str] = &["no such ref", "no such blob"];

/// All of them.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation { name: "import", args: |at| import(at, "image-12"), sets: Some(("image-12", "image-12")), ..PLAIN },
    Operation { name: "import-overlapping", args: |at| import(at, "image-3"), sets: IMAGE_3, ..PLAIN },
    Operation { name: "import-again", args: |at| import(at, "image-4"), sets: Some(("image-4", "image-4")), ..PLAIN },
    Operation {
        name: "import-rotten",
        args: |at| import(at, "image-3"),
        between: Between::Rot,
        sets: IMAGE_3,
        ..PLAIN
    },
    Operation {
        name: "tag-collected",
        args: |at| words(&["tag", &at.digest("image-4"), "again"]),
        refusals: NO_BLOB,
        sets: Some(("again", "image-4")),
        ..PLAIN
    },
    Operation {
        name: "tag-removed",
        args: |_| words(&["tag", "image-1", "again"]),
        between: Between::Command(|_| words(&["rm", "image-1"])),
        refusals: NO_REF,
        sets: Some(("again", "image-1")),
        between_sets: Some(("image-1", None)),
        ..PLAIN
    },
    Operation {
        name: "tag-beside-rm",
        args: |_| words(&["tag", "image-1", "again"]),
        between: Between::Command(|_| words(&["rm", "image-0"])),
        sets: Some(("again", "image-1")),
        between_sets: Some(("image-0", None)),
        ..PLAIN
    },
    Operation {
        name: "pin-collected",
        args: |at| words(&["pin", &at.digest("image-4")]),
        refusals: NO_BLOB,
        pins: Some("image-4"),
        ..PLAIN
    },
    Operation { name: "rm", args: |_| words(&["rm", "image-1"]), removes: Some("image-1"), ..PLAIN },
    Operation {
        name: "export-removed",
        args: |at| export(at, "image-1"),
        between: Between::Command(|_| words(&["rm", "image-1"])),
        refusals: NO_REF,
        between_sets: Some(("image-1", None)),
        exports: &["image-1"],
        ..PLAIN
    },
    Operation {
        name: "export-moved",
        args: |at| export(at, "moving"),
        between: Between::Command(|_| words(&["tag", "image-0", "moving"])),
        between_sets: Some(("moving", Some("image-0"))),
        exports: &["image-8", "image-0"],
        ..PLAIN
    },
    Operation {
        name: "export-collected",
        args: |at| words(&["export", "--sref", &at.digest("image-4"), "--dref", "out", &out(at)]),
        refusals: NO_BLOB,
        exports: &["image-4"],
        ..PLAIN
    },
    Operation {
        name: "data-set",
        args: |at| words(&["data", "set", "attack", "key", "value", "--blob", &at.lonely]),
        refusals: NO_BLOB,
        ..PLAIN
    },
    Operation { name: "reindex", args: |_| words(&["reindex"]), ..PLAIN },
    Operation {
        name: "convert",
        args: |at| words(&["index", "convert", "--to", if at.index == "lmdb" { "sqlite" } else { "lmdb" }]),
        ..PLAIN
    },
    Operation { name: "gc", args: |_| words(&["gc"]), ..PLAIN },
    Operation { name: "gc-full", args: |_| words(&["gc", "--full"]), ..PLAIN },
];

const IMAGE_3: Option<(&str, &str)> = Some(("image-3", "image-3"));

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn import(at: &Stage, image: &str) -> Vec<String> {
    words(&["import", "--sref", image, &at.source.display().to_string()])
}

fn export(at: &Stage, name: &str) -> Vec<String> {
    words(&["export", "--sref", name, "--dref", "out", &out(at)])
}

fn out(at: &Stage) -> String {
    at.out.display().to_string()
}
