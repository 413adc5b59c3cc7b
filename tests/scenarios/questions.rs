//! `why`, `du`, `stats`, `lease`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::common::layout::{Builder, INDEX, digest_of, on};
use crate::common::{World, over_each_index};

over_each_index!(
    why_names_every_path_to_what_is_kept,
    why_is_silent_of_exactly_what_a_gc_takes,
    du_says_what_removing_would_free,
    du_draws_who_shares_what,
    stats_count_what_there_is,
    leases_are_listed_and_left,
);

/// Two platforms that share a layer, a signature of one of them, an image of its own, and what nothing names.
fn fill(world: &World) -> Builder {
    let mut layout = Builder::new(world.path("shop"));
    let base = vec![b'b'; 3000];
    let amd = layout.image(&[&base, b"amd64"]);
    let arm = layout.image(&[&base, b"arm64"]);
    let index = layout.index(&[on(amd.clone(), "amd64"), on(arm, "arm64")]);
    let signature = layout.referrer(&amd, "application/x.signature", b"signature");
    let lone = layout.image(&[b"lone"]);
    layout.add(index, Some("multi")).add(amd, Some("amd")).add(lone, Some("lone")).add(signature, None);
    world.ok("import --all shop");
    layout
}

fn texts<'v>(value: &'v Value, key: &str) -> Vec<&'v str> {
    value.as_array().unwrap().iter().map(|item| item[key].as_str().unwrap_or_default()).collect()
}

fn why_names_every_path_to_what_is_kept(world: &World) {
    fill(world);
    let base = digest_of(&world.json("inspect amd")["layers"][0]);
    let why = world.json(&format!("why {base}"));
    assert_eq!((&why["digest"], &why["kept"], &why["more"]), (&base.clone().into(), &true.into(), &0.into()));
    // As an image by itself, and twice in the index.
    assert_eq!(texts(&why["paths"], "ref"), ["amd", "multi", "multi"]);
    let roles: Vec<_> = why["paths"].as_array().unwrap().iter().map(|path| texts(&path["path"], "role")).collect();
    assert_eq!(roles[1], ["", "manifest", "layer"]);
    let text = world.ok(&format!("why {}", &base[..20]));
    assert!(text.contains("ref multi") && text.contains(" > layer ") && text.lines().count() == 4, "{text}");
    let text = world.ok(&format!("why {base} --limit 1"));
    assert!(text.ends_with("and 2 more paths\n"), "{text}");

    let signature = digest_of(&world.json("inspect amd")["referrers"][0]);
    let why = world.json(&format!("why {signature}"));
    let steps = why["paths"][0]["path"].as_array().unwrap();
    assert_eq!(steps.last().unwrap()["role"], "referrer");
    world.ok("pin lone");
    world.ok("rm lone");
    let lone = digest_of(&world.json("pin")[0]);
    assert_eq!(world.json(&format!("why {lone}"))["paths"][0]["pin"], true);
    assert!(world.fails(4, "why nothing").contains("nothing"));
    world.fails(4, &format!("why sha256:{}", "0".repeat(64)));
}

fn why_is_silent_of_exactly_what_a_gc_takes(world: &World) {
    fill(world);
    world.ok("gc");
    for removed in ["amd", "lone", "multi"] {
        world.ok(&format!("rm {removed}"));
        let before = world.blob_files();
        let would: BTreeSet<&String> = before
            .iter()
            .filter(|digest| {
                let ran = world.run(&format!("why {digest}"));
                if ran.code() != Some(0) {
                    let error = ran.fails(6);
                    assert!(error.contains("nothing keeps it: the next gc takes it"), "{error}");
                }
                ran.code() == Some(6)
            })
            .collect();
        let ran = world.run(&format!("--format json why {}", would.first().map_or("multi", |digest| digest.as_str())));
        let json: Value = serde_json::from_str(&ran.out()).unwrap();
        assert_eq!(json["kept"], Value::Bool(would.is_empty()));
        world.ok("gc");
        let after: BTreeSet<String> = world.blob_files().into_iter().collect();
        assert_eq!(would, before.iter().filter(|digest| !after.contains(*digest)).collect(), "{removed}");
    }
    assert_eq!(world.blob_files(), [""; 0]);
}

fn du_says_what_removing_would_free(world: &World) {
    fill(world);
    world.ok("gc");
    let all = world.json("du");
    assert_eq!(texts(&all["images"], "ref"), ["amd", "lone", "multi"]);
    assert_eq!(all["total"], all["freed"]);
    assert_eq!(all["total"]["blobs"], world.blob_files().len());
    let text = world.ok("du");
    assert!(text.lines().last().unwrap().starts_with("total") && text.lines().count() == 5, "{text}");
    for names in ["amd", "amd lone", "multi"] {
        let said = world.json(&format!("du {names}"));
        for image in said["images"].as_array().unwrap() {
            assert_eq!(
                image["bytes"].as_u64().unwrap(),
                image["shared"].as_u64().unwrap() + image["unique"].as_u64().unwrap()
            );
        }
        world.ok(&format!("rm {names}"));
        let done = world.json("gc");
        assert_eq!((&said["freed"]["blobs"], &said["freed"]["bytes"]), (&done["blobs"], &done["bytes"]), "{names}");
        world.ok("import --all shop");
    }
    assert!(world.fails(4, "du amd nothing").contains("nothing"));
    world.fails(2, "du a//b");
    world.ok("--store-path empty gc");
    let empty = world.json("--store-path empty du");
    assert_eq!((&empty["images"], &empty["total"]["bytes"]), (&Value::Array(Vec::new()), &0.into()));
}

fn du_draws_who_shares_what(world: &World) {
    fill(world);
    let before = world.json("du");
    let ran = world.json("du --html page.html --svg picture.svg");
    assert_eq!(ran, before);
    let page = String::from_utf8(world.read("page.html")).unwrap();
    let svg = String::from_utf8(world.read("picture.svg")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("</html>") && page.contains("<td>multi</td>"));
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && page.contains(&svg));
    // Nothing is fetched, nothing is run, and every element has its end.
    for text in [&page, &svg] {
        let links = text.replace("http://www.w3.org/2000/svg", "");
        for word in ["http:", "https:", "<script", "url(", "@import", "src=", "href=", "NaN", "inf"] {
            assert!(!links.contains(word), "{word}");
        }
        for element in ["svg", "g", "text", "title", "style"] {
            let begun = text.matches(&format!("<{element}>")).count() + text.matches(&format!("<{element} ")).count();
            assert_eq!(begun, text.matches(&format!("</{element}>")).count(), "{element}");
        }
        assert!(text.contains("prefers-color-scheme:dark"));
    }
    // Each blob once, told by its digest, with those who share it.
    for digest in world.blob_files() {
        assert_eq!(svg.matches(&digest[..19]).count(), 1, "{digest}");
    }
    assert!(svg.contains(">lone</text>") && svg.contains(">2 images</text>"), "{svg}");
    world.ok("du amd --svg amd.svg");
    assert!(!String::from_utf8(world.read("amd.svg")).unwrap().contains("lone"));
    world.ok("--store-path empty gc");
    world.ok("--store-path empty du --html empty.html");
    assert!(world.fails(1, "du --svg no/such/folder.svg").contains("no/such/folder.svg"));
}

fn stats_count_what_there_is(world: &World) {
    let layout = fill(world);
    world.ok("gc");
    world.ok("tag lone again");
    world.ok("pin lone");
    let stats = world.json("stats");
    let files = world.blob_files();
    let bytes = |media_type: &str| {
        let blobs = world.json("blobs");
        let sizes = blobs.as_array().unwrap().iter().filter(|blob| blob["mediaType"] == media_type);
        sizes.map(|blob| blob["size"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!((&stats["refs"], &stats["pins"], &stats["leases"]), (&4.into(), &1.into(), &0.into()));
    assert_eq!((&stats["images"]["blobs"], &stats["blobs"]["blobs"]), (&3.into(), &files.len().into()));
    assert_eq!(stats["documents"]["blobs"], 5);
    assert_eq!(stats["documents"]["bytes"], bytes(INDEX) + bytes(crate::common::layout::MANIFEST));
    assert_eq!(stats["layers"]["blobs"], 5);
    assert_eq!(stats["index"], world.index);
    assert!(stats["indexBytes"].as_u64().unwrap() > 0);
    assert!(stats["dedupeRatio"].as_f64().unwrap() > 1.0, "{stats}");
    assert_eq!(stats["garbage"]["blobs"], 0);
    world.ok("rm amd multi");
    let would = world.json("gc --dry-run");
    let stats = world.json("stats");
    assert_eq!((&stats["garbage"]["blobs"], &stats["garbage"]["bytes"]), (&would["blobs"], &would["bytes"]));
    assert!(would["blobs"].as_u64().unwrap() > 3);
    assert!(world.ok("stats").contains("garbage"));
    world.ok("--store-path empty gc");
    assert_eq!(world.json("--store-path empty stats")["dedupeRatio"], Value::Null);
    drop(layout);
}

fn leases_are_listed_and_left(world: &World) {
    assert_eq!(world.json("lease ls"), Value::Array(Vec::new()));
    fill(world);
    // One whose owner is long dead, as a kill leaves it.
    let digest = world.digest("lone");
    let lease = world.path("store/.oci-store/leases/17b2a6d5f0e4c3b1-4194305-0");
    std::fs::write(&lease, format!("pid=4194305 import\n\n{digest}\n")).unwrap();
    let found = &world.json("lease ls")[0];
    assert_eq!(
        (&found["pid"], &found["purpose"], &found["live"]),
        (&4_194_305.into(), &"import".into(), &false.into())
    );
    assert_eq!((&found["blobs"], found["made"].as_u64().is_some()), (&1.into(), true));
    let text = world.ok("lease ls");
    assert!(text.contains("dead") && text.contains("4194305"), "{text}");
    assert!(lease.exists());
    world.ok("rm lone");
    world.fails(6, &format!("why {digest}"));
    world.ok("gc");
    assert_eq!(world.json("lease ls"), Value::Array(Vec::new()));
    assert!(!world.blob_files().contains(&digest));
}
