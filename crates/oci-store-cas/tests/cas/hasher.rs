//! Known vectors: FIPS 180-2 and the BLAKE3 test vectors.

use oci_store_cas::{Algorithm, Digest, Hasher};

fn hash(algorithm: Algorithm, bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(algorithm).unwrap();
    hasher.update(bytes);
    hasher.finish().to_string()
}

#[test]
fn known_vectors() {
    for (bytes, text) in [
        ("abc", "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (
            "abc",
            "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
             8086072ba1e7cc2358baeca134c825a7",
        ),
        (
            "abc",
            "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        ),
    ] {
        let digest: Digest = text.parse().unwrap();
        assert_eq!(hash(digest.known_algorithm().unwrap(), bytes.as_bytes()), text);
    }
}

#[test]
#[cfg(feature = "blake3")]
fn blake3() {
    let empty = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    assert_eq!(hash(Algorithm::Blake3, b""), empty);
    let abc = "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
    assert_eq!(hash(Algorithm::Blake3, b"abc"), abc);
}

#[test]
#[cfg(not(feature = "blake3"))]
fn blake3_is_only_parsed() {
    let digest: Digest = format!("blake3:{}", "00".repeat(32)).parse().unwrap();
    assert_eq!(digest.known_algorithm(), Some(Algorithm::Blake3));
    assert!(Hasher::new(Algorithm::Blake3).is_none());
    let error = Hasher::for_digest(&digest).unwrap_err();
    assert!(matches!(error, oci_store_cas::Error::UnknownAlgorithm(_)));
    assert!(error.to_string().ends_with(": can't compute blake3 (known: sha256, sha384, sha512)"), "{error}");
}

#[test]
fn unregistered_algorithms_are_refused() {
    let error = Hasher::for_digest(&"md6:ab".parse().unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("md6:ab: can't compute md6 (known: sha256,"), "{error}");
}
