//! The store's config: what is read prints as something that reads the same, and names no folder outside.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oci_store_base::fuzzing::config;

fuzz_target!(|data: &[u8]| {
    match config(data) {
        Ok((printed, folder)) => {
            assert_eq!(config(&printed).expect("it printed this"), (printed, folder.clone()));
            assert!(!folder.is_empty() && folder.bytes().all(|byte| byte.is_ascii_digit()), "{folder:?}");
        }
        Err(error) => assert!(error.to_string().contains("store")),
    }
});
