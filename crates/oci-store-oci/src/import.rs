//! Import: images from a source into the store.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use oci_store_base::{Condition, LinkMode};
use oci_store_cas::attack::{Point, reached};
use oci_store_cas::threads::{available, side_by_side};

use crate::history::{self, By, Operation};
use crate::import_options::ImportOptions;
use crate::intake::{Image, Intake};
use crate::moving::{self, Taken};
use crate::progress::Progress;
use crate::source::{Entry, ImageSource, Source, no_name, pick, pick_named};
use crate::{Descriptor, Error, REF_NAME, RefName, Result, Store, Stream, refs};

/// What of a source to import.
#[derive(Clone, Debug)]
pub enum Selection<'s> {
    /// One image.
    One {
        /// Its name in the source, or a digest; `None`: the only one.
        source: Option<&'s str>,
        /// The ref to set; `None`: the same name.
        name: Option<&'s RefName>,
    },
    /// All that have a name, each under its own.
    All,
}

/// An image that was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// The ref that was set.
    pub name: RefName,
    /// To what.
    pub target: Descriptor,
    /// Whether it lacks something.
    pub incomplete: bool,
}

/// Images that are published in one transaction, at the most.
const GROUP: usize = 128;

/// The images that came in, and those that did not, each with its name.
type Outcome = (Vec<Imported>, Vec<(RefName, Error)>);
/// Images that are still to be imported.
type Queue = VecDeque<(RefName, Descriptor)>;
/// Imports a group of images from the front of a queue, one at least.
type Group<'g> = dyn FnMut(&mut Queue) -> Result<Outcome> + 'g;

/// What the groups of one import share.
#[derive(Default)]
struct Run {
    /// The generation of the first change, under which all stand in the log.
    changes: Option<u64>,
    /// What is in the store for good, if it is to go from its source.
    taken: Taken,
}

/// Which ref an entry becomes.
pub(crate) fn ref_for(source: &dyn ImageSource, entry: &Entry, name: Option<&RefName>) -> Result<RefName> {
    if let Some(name) = name {
        return Ok(name.clone());
    }
    let text = entry.name.clone().unwrap_or_default();
    text.parse().map_err(|_| Error::NeedsName { name: text, origin: source.origin() })
}

impl Store {
    /// Imports images. Each blob that the store does not have is copied once, verified as it streams; all that is
    /// of an image becomes visible together with its ref, in one atomic, durable step. What is there already
    /// is not read from the source. Of several images those that fail don't keep the others from coming in.
    ///
    /// Idempotent.
    ///
    /// # Errors
    /// As [`ImportOptions::check_source`]; [`Error::NotInSource`], [`Error::SeveralInSource`], [`Error::NoName`],
    /// [`Error::NeedsName`]; [`Error::Source`] around what
    /// is wrong with an image; [`Error::Several`] if there was more than one; [`Error::Stopped`] around what would have
    /// failed all that were still to come; [`Error::NotShown`]; [`Error::NotRemoved`]; those of the base store.
    pub fn import(
        &self,
        source: &dyn ImageSource,
        selection: &Selection<'_>,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Imported>> {
        let origin = options.check(source)?;
        self.refresh()?;
        let mut run = Run::default();
        let imported = self.import_selected(source, selection, options, GROUP, &mut |wanted| {
            let lease = self.base().lease("import")?;
            let intake = Intake::new(self, source, progress, &lease, false).with(options);
            self.import_group(intake, wanted, options, &mut run)
        });
        let (Some(origin), Some(layout)) = (origin, source.as_layout()) else { return imported };
        let imported = match imported {
            Ok(imported) => imported,
            Err(error) => {
                if let Err(error) = moving::keep(self, &origin, &run.taken) {
                    tracing::warn!("{}: store and source still have files in common: {error}", source.origin());
                }
                return Err(error);
            }
        };
        match moving::remove(self, layout, &origin, &run.taken) {
            Ok(()) => Ok(imported),
            Err(error) => Err(Error::NotRemoved { imported, origin: source.origin(), error: Box::new(error) }),
        }
    }

    /// The same from what can be read only once. All of it is read, whatever the selection is: each blob that the store does
    /// not have is verified, and written once. A stream that ends early, or that is not wanted any more, leaves nothing.
    ///
    /// # Errors
    /// As [`import`](Self::import); [`Error::Archive`], [`Error::NotALayout`] and [`Error::Document`] as
    /// [`Archive::open`](crate::Archive::open).
    pub fn import_stream(
        &self,
        stream: Stream,
        selection: &Selection<'_>,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Imported>> {
        options.check_stream(&stream)?;
        self.refresh()?;
        let lease = self.base().lease("import")?;
        let received = stream.receive(self, &lease, progress)?;
        // What is needed of the lease is seen when all images are known: they are one group.
        self.import_selected(&received, selection, options, usize::MAX, &mut |wanted| {
            let intake = Intake::new(self, &received, progress, &lease, false).together();
            self.import_group(intake, wanted, options, &mut Run::default())
        })
    }

    /// Imports from several sources side by side, in a bounded number of threads: from each what its selection says. What
    /// fails for one does not keep the others from coming in. Returns the outcome of each, in their order; of two that
    /// set one ref, either may win.
    pub fn import_each(
        &self,
        sources: Vec<(Source<'_>, Selection<'_>)>,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Vec<Result<Vec<Imported>>> {
        let threads = available().min(sources.len());
        let mut outcomes: Vec<(usize, Result<Vec<Imported>>)> = Vec::new();
        let (left, done) = (Mutex::new(sources.into_iter().enumerate()), Mutex::new(&mut outcomes));
        side_by_side(threads, || {
            let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
            while let Some((n, (source, selection))) = next() {
                let outcome = match source {
                    Source::InPlace(source) => self.import(&*source, &selection, options, progress),
                    Source::Stream(stream) => self.import_stream(stream, &selection, options, progress),
                };
                done.lock().unwrap_or_else(PoisonError::into_inner).push((n, outcome));
            }
        });
        outcomes.sort_by_key(|(n, _)| *n);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    fn import_selected(
        &self,
        source: &dyn ImageSource,
        selection: &Selection<'_>,
        options: &ImportOptions,
        most: usize,
        group: &mut Group<'_>,
    ) -> Result<Vec<Imported>> {
        match selection {
            Selection::One { source: from, name } => {
                let entry = pick(source, *from, options.platform.as_ref())?;
                let mut wanted = Queue::from([(ref_for(source, &entry, *name)?, entry.descriptor)]);
                let (imported, mut failed) = group(&mut wanted)?;
                failed.pop().map_or(Ok(imported), |(_, error)| Err(error))
            }
            Selection::All => self.import_all(source, options, most, group),
        }
    }

    fn import_all(
        &self,
        source: &dyn ImageSource,
        options: &ImportOptions,
        most: usize,
        group: &mut Group<'_>,
    ) -> Result<Vec<Imported>> {
        let entries = source.entries()?;
        let mut named: Vec<&String> = Vec::new();
        // All entries of each name, as a source may have very many.
        let mut by_name: HashMap<&String, Vec<Entry>> = HashMap::new();
        for entry in &entries {
            let Some(name) = &entry.name else { continue };
            let same = by_name.entry(name).or_default();
            if same.is_empty() {
                named.push(name);
            }
            same.push(entry.clone());
        }
        let (mut imported, mut failed) = (Vec::new(), Vec::new());
        let total = named.len();
        if total == 0 {
            tracing::warn!("{}", no_name(source, &entries));
        }
        for names in named.chunks(most) {
            let mut wanted = Queue::new();
            for name in names {
                let same = by_name.get(name).map(Vec::as_slice).unwrap_or_default();
                let entry = pick_named(source, same, name, options.platform.as_ref());
                match entry.and_then(|entry| Ok((ref_for(source, &entry, None)?, entry.descriptor))) {
                    Ok(entry) => wanted.push_back(entry),
                    Err(error) => failed.push(((*name).clone(), error)),
                }
            }
            while !wanted.is_empty() {
                let (good, bad) = match group(&mut wanted) {
                    // Nothing is wrong with the images: those to come would fail by it as well.
                    Err(error) if total > 1 && error.hinders_all() => {
                        return Err(Error::Stopped { error: Box::new(error), imported, total });
                    }
                    done => done?,
                };
                imported.extend(good);
                failed.extend(bad.into_iter().map(|(name, error)| (name.to_string(), error)));
            }
        }
        match failed.len() {
            0 => Ok(imported),
            1 if total == 1 => Err(failed.swap_remove(0).1),
            _ => Err(Error::Several { imported, total, failed }),
        }
    }

    fn import_group(
        &self,
        mut intake: Intake<'_>,
        wanted: &mut Queue,
        options: &ImportOptions,
        run: &mut Run,
    ) -> Result<Outcome> {
        let mut failed = Vec::new();
        let mut walked: Vec<(RefName, Image)> = Vec::new();
        while !intake.is_full()
            && let Some((name, root)) = wanted.pop_front()
        {
            match intake.walk(&root, options.referrers) {
                Ok(image) => walked.push((name, image)),
                Err(error) if intake.progress.cancelled() => return Err(error),
                Err(error) => match intake.blame(error) {
                    error if error.hinders_all() => return Err(error),
                    error => failed.push((name, error)),
                },
            }
        }
        reached(Point::ClosureNamed);
        intake.copy()?;
        loop {
            let mut good: Vec<(Imported, Image)> = Vec::new();
            for (name, image) in walked {
                match intake.settle(&image, options.allow_incomplete) {
                    Ok(incomplete) => {
                        let mut target = image.root.clone();
                        target.set_annotation(REF_NAME, None);
                        good.push((Imported { name, target, incomplete }, image));
                    }
                    Err(error) => failed.push((name, error)),
                }
            }
            if good.is_empty() {
                return Ok((Vec::new(), failed));
            }
            let images: Vec<&Image> = good.iter().map(|(_, image)| image).collect();
            images.iter().for_each(|image| run.taken.bring(image, &intake));
            let published = intake.publish(&images, &mut |txn| {
                let mut generation = 0;
                let by = By::new(txn.view(), Operation::Import, run.changes)?;
                for (Imported { name, target, incomplete }, _) in &good {
                    // The same again is no change: no new generation, and index.json stays as it is.
                    generation = match refs::get(txn.view(), name)? {
                        Some(old) if old.target.digest == target.digest && old.incomplete == *incomplete => {
                            refs::touch(txn, name)?;
                            generation
                        }
                        _ => history::set(txn, by, name, target, *incomplete, Condition::Any)?,
                    };
                }
                Ok((by.group, generation.max(refs::generation(txn.view())?)))
            })?;
            if let Some((group, generation)) = published {
                if generation >= group {
                    run.changes = Some(group);
                }
                let done = || match good.as_slice() {
                    [(one, _)] => format!("the ref {} is set", one.name),
                    several => format!("{} refs are set", several.len()),
                };
                self.project(generation).map_err(|error| Error::not_shown(done())(error))?;
                if options.link == LinkMode::Move {
                    good.iter().for_each(|(_, image)| run.taken.add(image, &intake));
                }
                return Ok((good.into_iter().map(|(imported, _)| imported).collect(), failed));
            }
            walked = good.into_iter().map(|(imported, image)| (imported.name, image)).collect();
        }
    }
}
