//! Refs and pins.

use std::collections::HashMap;

use oci_store::{Condition, RefName};
use serde_json::Value;

use crate::outcome::{End, Failed, Outcome, by_digest};
use crate::record::Call;
use crate::thread::Worker;

impl Worker {
    pub(crate) fn tag(&mut self) -> Result<(), Failed> {
        self.tag_if(Condition::Any)
    }

    pub(crate) fn tag_new(&mut self) -> Result<(), Failed> {
        self.tag_if(Condition::Absent)
    }

    /// To what another ref names, or to a digest.
    fn tag_if(&mut self, condition: Condition) -> Result<(), Failed> {
        let target = self.name();
        let by_ref = self.random.permille(600);
        let (source, value) = if by_ref {
            (self.name(), "?".to_owned())
        } else {
            let digest = self.image()?.2;
            (digest.clone(), digest)
        };
        let (kind, op) = if condition == Condition::Any { ("tag", "set") } else { ("tag --new", "new") };
        let outside = self.outside();
        self.call(kind, Call::new(op, format!("ref:{target}"), value), |worker| {
            let outcome = if outside {
                let mut args = vec!["--format", "json", "tag", &source, &target];
                args.extend((op == "new").then_some("--new"));
                worker.program(&args).and_then(|text| digest_of(&text))
            } else {
                let target = name_of(&target)?;
                worker.store.tag(&source, &target, condition).map(|found| found.digest.to_string()).map_err(End::from)
            };
            if by_ref { outcome } else { by_digest(outcome) }
        })
    }

    pub(crate) fn remove(&mut self) -> Result<(), Failed> {
        let name = self.name();
        self.remove_ref(&name)
    }

    /// One of those that were left when their time was over.
    pub(crate) fn remove_old(&mut self) -> Result<(), Failed> {
        let now = self.era();
        let is_old = |name: &str| {
            let era = name.strip_prefix('e').and_then(|name| name.split('-').next()?.parse::<u64>().ok());
            era.is_none_or(|era| era + 1 < now) && !name.starts_with("foreign")
        };
        let refs = self.store.refs("", None, 1000)?;
        let old: Vec<_> = refs.iter().map(|found| found.name.as_str()).filter(|name| is_old(name)).collect();
        match self.random.pick(&old).map(|name| (*name).to_owned()) {
            Some(name) => self.remove_ref(&name),
            None => Ok(()),
        }
    }

    fn remove_ref(&mut self, name: &str) -> Result<(), Failed> {
        let outside = self.outside();
        self.call("rm", Call::new("del", format!("ref:{name}"), "-"), |worker| {
            if outside {
                worker.program(&["rm", name])?;
                return Ok("?".to_owned());
            }
            Ok(worker.store.remove_ref(&name_of(name)?)?.target.digest.to_string())
        })
    }

    pub(crate) fn rename(&mut self) -> Result<(), Failed> {
        let (from, to) = (self.name(), self.name());
        if from == to {
            return Ok(());
        }
        let calls = [Call::new("del", format!("ref:{from}"), "-"), Call::new("new", format!("ref:{to}"), "?")];
        let outside = self.outside();
        self.calls("rename", &calls, |worker| {
            let mut run = || -> Outcome {
                if outside {
                    return worker.program(&["rename", &from, &to]).map(drop);
                }
                Ok(worker.store.rename_ref(&name_of(&from)?, &name_of(&to)?)?)
            };
            let end = run();
            // `new` of what is absent says nothing about the name that was to be made.
            let words = match &end {
                Ok(()) => Some(["ok ?", "ok ?"]),
                Err(End::Absent) => Some(["absent", "absent"]),
                Err(End::Conflict) => Some(["conflict", "conflict"]),
                Err(_) => None,
            };
            (words.into_iter().flatten().map(|word| Some(word.to_owned())).collect(), end)
        })
    }

    pub(crate) fn get(&mut self) -> Result<(), Failed> {
        let name = self.name();
        let outside = self.outside();
        self.call("get", Call::new("get", format!("ref:{name}"), "-"), |worker| {
            if outside {
                return digest_of(&worker.program(&["--format", "json", "inspect", &name])?);
            }
            let found = worker.store.get_ref(&name_of(&name)?)?;
            Ok(found.ok_or(End::Absent)?.target.digest.to_string())
        })
    }

    /// All refs of these seconds at one moment.
    pub(crate) fn list(&mut self) -> Result<(), Failed> {
        let prefix = format!("e{}-", self.era());
        let names: Vec<String> = (0..8).map(|number| format!("{prefix}{number}")).collect();
        let calls: Vec<Call> = names.iter().map(|name| Call::new("get", format!("ref:{name}"), "-")).collect();
        let outside = self.outside();
        self.calls("list", &calls, |worker| {
            let listed = if outside { worker.list_outside(&prefix) } else { worker.list_inside(&prefix) };
            match listed {
                Ok(found) => {
                    let word = |name| found.get(name).map_or_else(|| "absent".to_owned(), |d| format!("ok {d}"));
                    (names.iter().map(|name| Some(word(name))).collect(), Ok(()))
                }
                Err(end) => (Vec::new(), Err(end)),
            }
        })
    }

    fn list_inside(&mut self, prefix: &str) -> Outcome<HashMap<String, String>> {
        let refs = self.store.refs(prefix, None, 1000)?;
        Ok(refs.into_iter().map(|found| (found.name.to_string(), found.target.digest.to_string())).collect())
    }

    fn list_outside(&mut self, prefix: &str) -> Outcome<HashMap<String, String>> {
        let text = self.program(&["--format", "json", "list", prefix])?;
        let list: Vec<Value> = serde_json::from_slice(&text).map_err(|error| End::Bad(error.to_string()))?;
        let field = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        Ok(list.iter().map(|entry| (field(entry, "ref"), field(entry, "digest"))).collect())
    }

    pub(crate) fn pin(&mut self) -> Result<(), Failed> {
        let digest = self.image()?.2;
        let object = format!("pin:{digest}");
        if self.outside() {
            // It does not say whether it was news.
            return self.call("pin", Call::new("set", object, "pin"), |worker| {
                by_digest(worker.program(&["pin", &digest])).map(|_| "pin".to_owned())
            });
        }
        self.call("pin", Call::new("new", object, "pin"), |worker| {
            match by_digest(worker.store.pin(&digest).map_err(End::from))? {
                (_, true) => Ok("pin".to_owned()),
                (_, false) => Err(End::Conflict),
            }
        })
    }

    pub(crate) fn unpin(&mut self) -> Result<(), Failed> {
        let digest = self.image()?.2;
        let outside = self.outside();
        self.call("unpin", Call::new("del", format!("pin:{digest}"), "-"), |worker| {
            if outside {
                return worker.program(&["unpin", &digest]).map(|_| "?".to_owned());
            }
            match worker.store.unpin(&digest)? {
                (_, true) => Ok("pin".to_owned()),
                (_, false) => Err(End::Absent),
            }
        })
    }
}

pub(crate) fn name_of(text: &str) -> Outcome<RefName> {
    Ok(text.parse::<RefName>()?)
}

/// The digest in what the program printed.
pub(crate) fn digest_of(json: &[u8]) -> Outcome<String> {
    let value: Value = serde_json::from_slice(json).map_err(|error| End::Bad(error.to_string()))?;
    let digest = value["digest"].as_str().map(str::to_owned);
    digest.ok_or_else(|| End::Bad(format!("{value}: no digest")))
}
