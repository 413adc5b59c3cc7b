//! What only looks: `check`, `inspect`, `cat`, `resolve`, `blobs`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::common::layout::{Builder, LAYER, blob_path, digest, digest_of, entries, layers_of};
use crate::common::{World, over_each_index};

over_each_index!(
    check_is_quiet_about_what_is_well,
    check_names_a_missing_blob_and_what_needs_it,
    check_finds_damage_only_by_reading_and_a_new_import_mends_it,
    cat_and_inspect_raw_give_the_bytes_as_they_came,
    cat_does_not_print_a_damaged_blob_without_an_error,
    a_blob_whose_file_is_gone_is_told_from_one_that_is_not_there,
    inspect_shows_what_an_image_is,
    resolve_takes_three_spellings,
    a_beginning_that_fits_several_is_ambiguous_and_lists_them,
    blobs_are_filtered_and_come_in_pages,
);

fn spoil(world: &World, digest: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = blob_path(&world.path("store"), digest);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, bytes).unwrap();
}

fn check_is_quiet_about_what_is_well(world: &World) {
    world.ok("import --all hello");
    for words in ["check", "check v1", "check v1 latest", "check --read-data"] {
        let out = world.ok(words);
        assert!(out.contains("0 problems"), "{out}");
    }
    let checked = world.json("check --read-data");
    let layout = world.path("hello");
    let bytes: u64 = world.blob_files().iter().map(|d| fs::metadata(blob_path(&layout, d)).unwrap().len()).sum();
    assert_eq!((checked["images"].as_u64(), checked["blobs"].as_u64()), (Some(2), Some(7)));
    assert_eq!(checked["bytes"].as_u64(), Some(bytes));
    assert!(world.fails(4, "check v9").contains("v9"));
}

fn check_names_a_missing_blob_and_what_needs_it(world: &World) {
    world.ok("import --all hello");
    let digest = world.digest("latest");
    let layers = layers_of(&world.path("hello"), &digest);
    let of_latest = layers.last().unwrap();
    fs::remove_file(blob_path(&world.path("store"), of_latest)).unwrap();
    world.ok("check v1");
    for words in ["check", "check latest", "check --read-data"] {
        let ran = world.run(words);
        assert_eq!(ran.code(), Some(3), "{}", ran.err());
        assert_eq!(ran.err().lines().count(), 1, "{}", ran.err());
        for word in ["error: latest: ", of_latest, "missing", &digest] {
            assert!(ran.err().contains(word), "no {word} in {}", ran.err());
        }
    }
    let ran = world.run("--format json check");
    let json: serde_json::Value = serde_json::from_str(&ran.out()).unwrap();
    assert_eq!(json["problems"][0]["digest"], of_latest.as_str());
    assert_eq!(json["problems"][0]["fault"], "missing");
    assert_eq!(json["problems"][0]["path"][0], digest.as_str());
}

fn check_finds_damage_only_by_reading_and_a_new_import_mends_it(world: &World) {
    world.ok("import --sref v1 hello");
    let layers = layers_of(&world.path("hello"), &world.digest("v1"));
    spoil(world, &layers[0], |bytes| bytes[5] ^= 1);
    world.ok("check");
    let ran = world.run("check --read-data");
    assert_eq!(ran.code(), Some(3));
    assert!(ran.err().contains(&layers[0]) && ran.err().contains("damaged"), "{}", ran.err());
    assert!(world.ok("blobs").contains("DAMAGED"));

    world.ok("import --sref v1 hello");
    world.ok("check --read-data");
    assert!(!world.ok("blobs").contains("DAMAGED"));

    spoil(world, &layers[1], |bytes| bytes.truncate(bytes.len() - 1));
    let ran = world.run("check");
    assert_eq!(ran.code(), Some(3));
    assert!(ran.err().contains(&layers[1]) && ran.err().contains("size"), "{}", ran.err());
}

fn cat_and_inspect_raw_give_the_bytes_as_they_came(world: &World) {
    // A manifest as no program would write it: it stays so.
    let mut layout = Builder::new(world.path("odd"));
    let config = layout.blob("application/vnd.oci.empty.v1+json", b"{}");
    let layer = layout.blob(LAYER, b"\x00\xff\n\r\n odd");
    let text =
        format!("\n {{\"layers\" :[{layer}],\t\"unknown\":1e2, \"config\":{config},\r\n\"schemaVersion\":2}}  \n");
    let manifest = layout.blob(crate::common::layout::MANIFEST, text.as_bytes());
    layout.add(manifest.clone(), Some("odd"));
    world.ok("import odd");
    assert_eq!(world.run("inspect --raw odd").bytes(), text.as_bytes());
    assert_eq!(world.run("cat odd").bytes(), text.as_bytes());
    assert_eq!(world.run(&format!("cat {}", digest_of(&manifest))).bytes(), text.as_bytes());
    assert_eq!(world.run(&format!("cat {}", &digest_of(&layer)[..16])).bytes(), b"\x00\xff\n\r\n odd");
    world.ok("export odd out");
    assert_eq!(fs::read(blob_path(&world.path("out"), &digest_of(&manifest))).unwrap(), text.as_bytes());
    assert_eq!(world.run("inspect --raw nothing").fails(4), "error: nothing: no such ref; `list` shows all refs");
}

fn cat_does_not_print_a_damaged_blob_without_an_error(world: &World) {
    world.ok("import --sref v1 hello");
    let digest = world.digest("v1");
    spoil(world, &digest, |bytes| bytes[5] ^= 1);
    for words in [format!("cat {digest}"), "inspect --raw v1".to_owned(), "inspect v1".to_owned()] {
        let ran = world.run(&words);
        assert_eq!(ran.code(), Some(1), "{words}");
        assert!(ran.err().starts_with("error: ") && ran.err().contains(&digest), "{}", ran.err());
    }
}

fn a_blob_whose_file_is_gone_is_told_from_one_that_is_not_there(world: &World) {
    world.ok("import --sref v1 hello");
    let layer = digest_of(&world.json("inspect v1")["layers"][0]);
    let manifest = world.digest("v1");
    for digest in [&layer, &manifest] {
        fs::remove_file(blob_path(&world.path("store"), digest)).unwrap();
    }
    for (words, digest) in [(format!("cat {}", &layer[..16]), &layer), ("inspect v1".to_owned(), &manifest)] {
        assert_eq!(world.fails(1, &words), format!("error: {digest}: its file is missing: run `check`"));
    }
    assert!(world.fails(4, &format!("cat {}", "0".repeat(64))).contains("no such blob in the store"));
}

fn inspect_shows_what_an_image_is(world: &World) {
    world.ok("import --all hello");
    let shown = world.json("inspect latest");
    let entry = entries(&world.path("hello")).into_iter().find(|e| digest_of(e) == world.digest("latest")).unwrap();
    assert_eq!(shown["digest"], entry["digest"]);
    assert_eq!(shown["size"], entry["size"]);
    assert_eq!(shown["mediaType"], entry["mediaType"]);
    assert_eq!(shown["ref"], "latest");
    assert_eq!(shown["os"], "linux");
    assert_eq!(shown["labels"]["org.opencontainers.image.title"], "hello");
    assert_eq!(shown["entrypoint"][0], "/bin/hello");
    let layers: Vec<String> = shown["layers"].as_array().unwrap().iter().map(digest_of).collect();
    assert_eq!(layers, layers_of(&world.path("hello"), &digest_of(&entry)));
    let text = world.ok("inspect latest");
    assert!(text.contains(&format!("digest: {}\n", digest_of(&entry))) && text.contains("os: linux\n"), "{text}");
    // A layer, too, is something that can be looked at.
    assert_eq!(world.json(&format!("inspect {}", layers[0]))["size"], shown["layers"][0]["size"]);
}

fn resolve_takes_three_spellings(world: &World) {
    world.ok("import --all hello");
    let digest = world.digest("v1");
    let hex = &digest[7..];
    for prefix in
        [format!("sha256:{}", &hex[..8]), format!("sha256-{}", &hex[..8]), hex[..8].to_owned(), digest.clone()]
    {
        assert_eq!(world.ok(&format!("resolve {prefix}")), format!("{digest}\n"));
    }
    assert!(world.fails(4, "resolve ffffffffffff").contains("ffffffffffff"));
    assert!(world.fails(4, "resolve sha512:00").contains("sha512:00"));
    for wrong in ["a", "zz", "sha256:", "sha256:xy", "no such"] {
        world.run_args(["resolve", wrong]).fails(2);
    }
}

fn a_beginning_that_fits_several_is_ambiguous_and_lists_them(world: &World) {
    // Two layers whose digests begin alike.
    let mut seen = std::collections::HashMap::new();
    let (a, b) = (0..)
        .map(|n: u32| n.to_string())
        .find_map(|n| Some((seen.insert(digest(n.as_bytes())[..11].to_owned(), n.clone())?, n)))
        .unwrap();
    let mut layout = Builder::new(world.path("alike"));
    let image = layout.image(&[a.as_bytes(), b.as_bytes()]);
    layout.add(image, Some("alike"));
    world.ok("import alike");
    let (a, b) = (digest(a.as_bytes()), digest(b.as_bytes()));
    for words in ["resolve", "cat", "inspect", "pin"] {
        let error = world.fails(5, &format!("{words} {}", &a[..11]));
        assert!(error.contains(&a) && error.contains(&b) && error.contains("ambiguous"), "{error}");
    }
    world.fails(5, &format!("tag {} x", &a[7..11]));
    world.ok(&format!("resolve {a}"));
}

fn blobs_are_filtered_and_come_in_pages(world: &World) {
    world.ok("import --all hello");
    let all = world.json("blobs");
    let all = all.as_array().unwrap();
    let count = |words: &str| world.json(&format!("blobs {words}")).as_array().unwrap().len();
    let digests: Vec<String> = all.iter().map(digest_of).collect();
    assert_eq!(digests, world.blob_files());
    assert_eq!(world.ok("blobs").lines().count(), 8);
    assert_eq!(count(&format!("--media-type {}", crate::common::layout::MANIFEST)), 2);
    assert_eq!(count("--media-type no/such"), 0);
    assert_eq!((count("--algorithm sha256"), count("--algorithm sha512")), (7, 0));
    let sizes: Vec<u64> = all.iter().map(|blob| blob["size"].as_u64().unwrap()).collect();
    let middle = sizes[3];
    assert_eq!(count(&format!("--min-size {middle}")), sizes.iter().filter(|size| **size >= middle).count());
    assert_eq!(count(&format!("--max-size {middle}")), sizes.iter().filter(|size| **size <= middle).count());
    assert_eq!(count("--min-size 1GiB"), 0);
    assert_eq!((count("--older-than 1h"), count("--newer-than 1h")), (0, 7));
    assert_eq!((count("--unused-for 1day"), count("--limit 3")), (0, 3));
    assert_eq!(count("--limit 0"), 0);
    let mut paged = Vec::new();
    while let Some(blob) = {
        let after = paged.last().map_or(String::new(), |last| format!("--after {last}"));
        world.json(&format!("blobs --limit 1 {after}")).get(0).map(digest_of)
    } {
        paged.push(blob);
    }
    assert_eq!(paged, digests);
    let all = world.blob_files();
    for digits in [8, 4] {
        let rest: String = all[3..].iter().map(|digest| format!("{digest}\n")).collect();
        for after in [&all[2][..7 + digits], &all[2][7..7 + digits]] {
            assert_eq!(world.ok(&format!("blobs -q --after {after}")), rest, "{after}");
        }
    }
    assert_eq!(world.ok("blobs -q --after ffffffff"), "");
    let long = format!("sha256:{}", "f".repeat(65));
    for text in ["nonsense", "sha256:", "f", &long] {
        world.fails(2, &format!("blobs --after {text}"));
    }
    world.fails(2, "blobs --min-size much");
    world.fails(2, "blobs --older-than long");
}
