use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A ref's name, by the image-spec's grammar for the annotation `org.opencontainers.image.ref.name`:
/// `latest`, `nginx:1.27`, `localhost:5000/a/b:v1@sha256:…`; at most [`RefName::MAX`] bytes.
///
/// ```text
/// ref       ::= component ("/" component)*
/// component ::= alphanum (separator alphanum)*
/// alphanum  ::= [A-Za-z0-9]+
/// separator ::= [-._:@+] | "--"
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName(String);

impl RefName {
    /// The longest name, in bytes.
    pub const MAX: usize = 1024;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part of the name that tags of one image have in common: what stands before the last `:` behind the last
    /// `/`, or all of it, without a `@` and what follows.
    #[must_use]
    pub fn base(&self) -> &str {
        let plain = self.0.split_once('@').map_or(self.as_str(), |(plain, _)| plain);
        match plain.rsplit_once(':') {
            // The colon of a port.
            Some((_, tag)) if tag.contains('/') => plain,
            Some((base, _)) => base,
            None => plain,
        }
    }
}

fn check(name: &str) -> Result<(), &'static str> {
    if name.len() > RefName::MAX {
        return Err("it has more than 1024 bytes");
    }
    for component in name.split('/') {
        let mut rest = component;
        loop {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            let (alphanum, behind) = rest.split_at(end);
            if alphanum.is_empty() {
                return Err("each part takes letters and digits, with one of - . _ : @ + or -- between them");
            }
            if behind.is_empty() {
                break;
            }
            rest = behind
                .strip_prefix("--")
                .or_else(|| behind.strip_prefix(['-', '.', '_', ':', '@', '+']))
                .ok_or("it has a character that is not allowed")?;
        }
    }
    Ok(())
}

impl FromStr for RefName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match check(name) {
            Ok(()) => Ok(Self(name.to_owned())),
            Err(why) => Err(Error::InvalidRef { name: name.chars().take(80).collect(), why }),
        }
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RefName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_one_image_have_a_base_in_common() {
        let of = |name: &str| name.parse::<RefName>().unwrap().base().to_owned();
        assert_eq!(of("nginx:1.27"), "nginx");
        assert_eq!(of("nginx"), "nginx");
        assert_eq!(of("localhost:5000/a/b"), "localhost:5000/a/b");
        assert_eq!(of("localhost:5000/a/b:v1"), "localhost:5000/a/b");
        assert_eq!(of("localhost:5000/a/b:v1@sha256:00"), "localhost:5000/a/b");
        assert_eq!(of("a:b:c"), "a:b");
    }
}
