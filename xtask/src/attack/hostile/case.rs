//! What a case is.

use std::path::Path;

use anyhow::Result;

use super::kit::Kit;

/// How a case's source is given to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As a folder.
    Folder,
    /// As a tar archive.
    Archive,
}

/// What makes a case's source.
pub(super) type Make = Box<dyn Fn(&Kit) -> Result<()>>;

/// What writes an archive by itself, byte by byte.
pub(super) type MakeArchive = Box<dyn Fn(&Kit, &Path) -> Result<()>>;

/// A source, and how it is imported.
pub(super) struct Case {
    /// Under this name alone it can be run again.
    pub(super) name: String,
    /// Words of the command, before the source.
    pub(super) words: Vec<String>,
    /// Writes the folder.
    pub(super) make: Make,
    /// Writes the archive; if there is none, the folder is packed.
    pub(super) archive: Option<MakeArchive>,
    /// As what the program gets it.
    pub(super) forms: Vec<Form>,
    /// Whether it is about content, so that another tool could write the same into the store's own folder.
    pub(super) in_place: bool,
    /// Whether the program must refuse it, and leave the store as it is.
    pub(super) bad: bool,
}

impl Case {
    /// A source that must be refused, as a folder, as an archive, and in the store's own folder.
    pub(super) fn bad(name: impl Into<String>, make: impl Fn(&Kit) -> Result<()> + 'static) -> Self {
        Self {
            name: name.into(),
            words: vec!["import".to_owned()],
            make: Box::new(make),
            archive: None,
            forms: vec![Form::Folder, Form::Archive],
            in_place: true,
            bad: true,
        }
    }

    /// A source that must be taken, whole.
    pub(super) fn good(name: impl Into<String>, make: impl Fn(&Kit) -> Result<()> + 'static) -> Self {
        Self { bad: false, in_place: false, ..Self::bad(name, make) }
    }

    /// Written as an archive only, by `make`.
    pub(super) fn archive(self, make: impl Fn(&Kit, &Path) -> Result<()> + 'static) -> Self {
        Self { archive: Some(Box::new(make)), forms: vec![Form::Archive], in_place: false, ..self }
    }

    /// With other words than `import`.
    pub(super) fn words(self, words: &[&str]) -> Self {
        Self { words: words.iter().map(|word| (*word).to_owned()).collect(), ..self }
    }

    /// Only as a folder, and not in the store's own.
    pub(super) fn folder_only(self) -> Self {
        Self { forms: vec![Form::Folder], in_place: false, ..self }
    }

    /// Not in the store's own folder: there it means something else, and may be right.
    pub(super) fn not_in_place(self) -> Self {
        Self { in_place: false, ..self }
    }
}
