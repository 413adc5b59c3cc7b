//! The steps of the protocol, each as atomic as it is on disk: one transaction that only reads and writes rows, one
//! rename, one write to a lease, one unlink. A collector's updates are several steps, as it reads leases and unlinks
//! files in them while others write leases and rename files.

use super::state::{At, Blobs, Collector, EACH, GcAt, Job, State, Worker};
use super::{Guards, Step};

impl State {
    /// All steps that can be made now.
    pub(super) fn steps(&self, steps: &mut Vec<Step>) {
        for (n, worker) in self.workers.iter().enumerate() {
            let has_begun = worker.at != At::Idle;
            let can = match worker.at {
                At::Idle => !worker.jobs.is_empty(),
                At::Publish => self.writer.is_none(),
                At::Failed => false,
                _ => true,
            };
            if can {
                steps.push(Step::Worker(n));
            }
            if has_begun && worker.at != At::Failed && self.kills > 0 {
                steps.push(Step::KillWorker(n));
            }
        }
        for (n, collector) in self.collectors.iter().enumerate() {
            let needs_writer = matches!(collector.at, GcAt::Idle | GcAt::NoteOrphans | GcAt::Listed);
            let free = self.writer.is_none() || self.writer == Some(n);
            if collector.at == GcAt::Idle {
                if free && self.collections > 0 {
                    steps.extend([Step::Collect { n, full: false }, Step::Collect { n, full: true }]);
                }
            } else {
                if free || !needs_writer {
                    steps.push(Step::Gc(n));
                }
                if self.kills > 0 {
                    steps.push(Step::KillGc(n));
                }
            }
        }
        if self.writer.is_none() && self.removals > 0 {
            steps.extend(EACH.into_iter().filter(|root| self.refs & root != 0).map(Step::Remove));
        }
    }

    /// Makes a step.
    pub(super) fn make(&mut self, step: &Step, guards: Guards) {
        match *step {
            Step::Worker(n) => self.work(n, guards),
            Step::KillWorker(n) => self.kill_worker(n),
            Step::Collect { n, full } => {
                self.collections -= 1;
                self.begin_collection(n, full);
            }
            Step::Gc(n) => self.collect(n, guards),
            Step::KillGc(n) => self.kill_gc(n),
            Step::Remove(root) => {
                self.removals -= 1;
                self.refs &= !root;
                self.acknowledged &= !root;
                self.dirty |= root & self.rows;
            }
        }
    }

    fn kill_worker(&mut self, n: usize) {
        self.kills -= 1;
        if let Some(worker) = self.workers.get_mut(n) {
            let dead = worker.named;
            *worker = Worker::new(std::mem::take(&mut worker.jobs));
            self.leave_lease(dead);
        }
    }

    fn kill_gc(&mut self, n: usize) {
        self.kills -= 1;
        if let Some(collector) = self.collectors.get_mut(n) {
            // What it has not removed of the leases of the dead is still there, for the next.
            let buried = std::mem::replace(collector, Collector::new()).buried;
            buried.into_iter().for_each(|dead| self.leave_lease(dead));
        }
        self.writer = self.writer.filter(|writer| *writer != n);
    }

    fn leave_lease(&mut self, named: Blobs) {
        if named != 0 {
            self.dead.push(named);
            self.dead.sort_unstable();
        }
    }

    fn work(&mut self, n: usize, guards: Guards) {
        let Some(mut worker) = self.workers.get(n).cloned() else { return };
        self.work_as(&mut worker, guards);
        if let Some(slot) = self.workers.get_mut(n) {
            *slot = worker;
        }
    }

    fn work_as(&mut self, worker: &mut Worker, guards: Guards) {
        let name = |worker: &mut Worker, blobs: Blobs| worker.named |= if guards.leases { blobs } else { 0 };
        match (worker.at, worker.jobs.last().copied()) {
            (At::Idle, Some(Job::Import(image))) => {
                worker.left = image.all;
                worker.at = At::Name;
            }
            (At::Name, Some(Job::Import(_))) => {
                name(worker, first(worker.left));
                worker.at = At::Look;
            }
            (At::Look, Some(Job::Import(_))) => {
                let blob = first(worker.left);
                worker.staged |= blob & !(self.rows & self.files);
                worker.left &= !blob;
                worker.at = if worker.left == 0 { At::Persist } else { At::Name };
            }
            (At::Persist, Some(Job::Import(_))) => {
                let blob = first(worker.staged);
                self.files |= blob;
                worker.persisted |= blob;
                worker.staged &= !blob;
                worker.at = if worker.staged == 0 { At::Publish } else { At::Persist };
            }
            (At::Publish, Some(Job::Import(image))) => {
                let there = self.rows | (worker.persisted & self.files);
                let gone = image.all & !there;
                if gone != 0 && guards.publish_check {
                    worker.staged = gone;
                    worker.at = At::Persist;
                } else {
                    self.dirty |= image.all & !self.rows;
                    self.rows |= image.all;
                    self.pending &= !image.all;
                    self.refs |= image.root;
                    worker.at = At::Release;
                }
            }
            (At::Release, Some(Job::Import(image))) => {
                // A remover may have been faster.
                self.acknowledged |= image.root & self.refs;
                let left = if worker.persisted & !self.rows == 0 { 0 } else { worker.named };
                self.end_job(worker);
                self.leave_lease(left);
            }
            (At::Idle, Some(Job::Export(image))) => {
                if image.all & !self.rows == 0 {
                    worker.left = image.all;
                    worker.at = At::Gathered;
                } else {
                    self.end_job(worker);
                }
            }
            (At::Gathered, Some(Job::Export(image))) => {
                name(worker, image.all);
                worker.at = if guards.second_look { At::Again } else { At::Copy };
            }
            (At::Again, Some(Job::Export(image))) => {
                if image.all & !self.rows == 0 {
                    worker.at = At::Copy;
                } else {
                    self.end_job(worker);
                }
            }
            (At::Copy, Some(Job::Export(_))) => {
                let blob = first(worker.left);
                worker.left &= !blob;
                if self.files & blob == 0 {
                    worker.at = At::Failed;
                } else if worker.left == 0 {
                    worker.at = At::Release;
                }
            }
            (At::Release, Some(Job::Export(_))) => self.end_job(worker),
            _ => {}
        }
    }

    fn end_job(&self, worker: &mut Worker) {
        let mut jobs = std::mem::take(&mut worker.jobs);
        jobs.pop();
        *worker = Worker::new(jobs);
    }

    /// Takes the writer, and reads the leases.
    pub(super) fn begin_collection(&mut self, n: usize, full: bool) {
        let leased = self.leased();
        if let Some(collector) = self.collectors.get_mut(n) {
            let buried = std::mem::take(&mut self.dead);
            *collector = Collector { at: GcAt::Mark, full, leased, buried, todo: 0, done: 0 };
            self.writer = Some(n);
        }
    }

    /// The next step of a collection that has begun.
    pub(super) fn collect(&mut self, n: usize, guards: Guards) {
        let Some(mut gc) = self.collectors.get(n).cloned() else { return };
        self.collect_as(n, &mut gc, guards);
        if let Some(slot) = self.collectors.get_mut(n) {
            *slot = gc;
        }
    }

    fn collect_as(&mut self, n: usize, gc: &mut Collector, guards: Guards) {
        match gc.at {
            GcAt::Idle => {}
            GcAt::Mark => {
                let (rows, dirty, pending) = self.marked(gc);
                let first_file = first(self.rows & !rows & self.files);
                if !guards.rows_first && first_file != 0 {
                    self.files &= !first_file;
                    return;
                }
                (self.rows, self.dirty, self.pending) = (rows, dirty, pending);
                self.writer = None;
                gc.at = GcAt::Bury;
            }
            GcAt::Bury => {
                gc.buried = Vec::new();
                gc.at = if gc.full { GcAt::Orphans } else { GcAt::List };
            }
            GcAt::Orphans => {
                gc.todo = self.files & !self.rows & !self.pending & !self.leased();
                gc.at = GcAt::NoteOrphans;
            }
            GcAt::NoteOrphans => {
                self.pending |= gc.todo & !self.rows;
                gc.at = GcAt::List;
            }
            GcAt::List => {
                gc.todo = self.pending;
                gc.at = if gc.todo == 0 { GcAt::Idle } else { GcAt::Listed };
                if gc.at == GcAt::Idle {
                    *gc = Collector::new();
                }
            }
            GcAt::Listed => {
                self.writer = Some(n);
                gc.leased = if guards.lease_recheck { self.leased() } else { gc.leased };
                gc.done = 0;
                gc.at = GcAt::Unlink;
            }
            GcAt::Unlink => {
                let blob = first(gc.todo);
                gc.todo &= !blob;
                if self.rows & blob != 0 {
                    gc.done |= blob;
                } else if gc.leased & blob == 0 {
                    self.files &= !blob;
                    gc.done |= blob;
                }
                if gc.todo == 0 {
                    self.pending &= !gc.done;
                    self.writer = None;
                    *gc = Collector::new();
                }
            }
        }
    }

    /// Rows, dirty and pending blobs as a collection leaves them.
    fn marked(&self, gc: &Collector) -> (Blobs, Blobs, Blobs) {
        let mut after = self.clone();
        let buried = gc.buried.iter().fold(0, |all, named| all | named);
        after.dirty |= buried & after.rows;
        after.pending |= buried & !after.rows & after.files;
        if gc.full {
            let kept = after.kept(gc.leased);
            let removed = after.rows & !kept;
            after.rows &= kept;
            after.pending |= removed;
            after.dirty = after.rows & !after.kept(0);
            return (after.rows, after.dirty, after.pending);
        }
        // Manifests first: one that goes makes its layer dirty.
        for blob in EACH {
            if after.dirty & blob == 0 || gc.leased & blob != 0 {
                continue;
            }
            if after.rows & blob == 0 {
                after.dirty &= !blob;
            } else if after.kept(gc.leased) & blob == 0 {
                after.rows &= !blob;
                after.dirty &= !blob;
                after.pending |= blob;
                if blob & (super::state::A | super::state::B) != 0 {
                    after.dirty |= super::state::C & after.rows;
                }
            } else if after.kept(0) & blob != 0 {
                after.dirty &= !blob;
            }
        }
        (after.rows, after.dirty, after.pending)
    }
}

/// The first of a set; nothing of an empty one.
fn first(blobs: Blobs) -> Blobs {
    blobs & blobs.wrapping_neg()
}
