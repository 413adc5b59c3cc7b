//! Bytes from seeds: noise, which does not compress, and text, which does.

use std::io::{self, Read};

/// SplitMix64: one multiplication chain per number, and the same numbers on every machine.
pub(super) struct Numbers(u64);

impl Numbers {
    /// A stream of its own for each name.
    pub(super) fn of(name: &str) -> Self {
        // FNV-1a.
        Self(
            name.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)),
        )
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least `low`, and less than `high`.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }
}

/// An endless stream of bytes; take as many as needed.
pub(super) struct Contents {
    numbers: Numbers,
    /// None for noise.
    vocabulary: Option<Vec<String>>,
    buffer: Vec<u8>,
    read: usize,
}

impl Contents {
    pub(super) fn noise(seed: &str) -> Self {
        Self { numbers: Numbers::of(seed), vocabulary: None, buffer: Vec::new(), read: 0 }
    }

    pub(super) fn text(seed: &str) -> Self {
        let mut numbers = Numbers::of(seed);
        let vocabulary = (0..1500).map(|_| word(&mut numbers)).collect();
        Self { numbers, vocabulary: Some(vocabulary), buffer: Vec::new(), read: 0 }
    }

    fn refill(&mut self) {
        const CHUNK: usize = 32 << 10;
        self.buffer.clear();
        self.read = 0;
        while self.buffer.len() < CHUNK {
            let number = self.numbers.next();
            match &self.vocabulary {
                None => self.buffer.extend_from_slice(&number.to_le_bytes()),
                Some(words) => {
                    let word = &words[(number % words.len() as u64) as usize];
                    self.buffer.extend_from_slice(word.as_bytes());
                    self.buffer.push(if number >> 60 == 0 { b'\n' } else { b' ' });
                }
            }
        }
    }
}

fn word(numbers: &mut Numbers) -> String {
    let length = numbers.between(2, 11);
    (0..length).map(|_| char::from(b'a' + numbers.between(0, 26) as u8)).collect()
}

impl Read for Contents {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.read == self.buffer.len() {
            self.refill();
        }
        let count = (&self.buffer[self.read..]).read(to)?;
        self.read += count;
        Ok(count)
    }
}
